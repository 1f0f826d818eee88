"""Writes a federation as a folder with one file per client, whole or not at all."""

import dataclasses
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgeloop.data.client_files import CONFIG, FORMAT
from edgeloop.data.federation import Federation
from edgeloop.data.samples import Shard
from edgeloop.errors import RunError


def write(federation: Federation, folder: str | Path) -> Path:
    """Write every client's samples, and a `config.json`; `load` returns the same bits.

    Everything goes to a folder beside it first, which then takes the name.

    Args:
        federation: what to write.
        folder: a path that does not exist or is an empty folder.

    Returns:
        The folder.

    Raises:
        RunError: the folder holds something, or cannot be written.
        DataError: a client's share cannot be read.
    """
    target = Path(folder).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(str(folder), "exists and is not empty", "name a new or an empty folder")
    building = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        _fill(federation, building)
        os.replace(building, target)
    except OSError as error:
        raise RunError(
            str(folder), f"cannot be written ({error})", "name another folder"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def _fill(federation: Federation, folder: Path) -> None:
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
    for client in range(len(federation)):
        shards = federation.shards(client)
        _write_shard(folder / "train" / f"{client}.npz", shards.train)
        _write_shard(folder / "test" / f"{client}.npz", shards.test)
    text = json.dumps(_settings(federation), indent=1)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def _write_shard(path: Path, shard: Shard) -> None:
    np.savez_compressed(path, x=shard.inputs, y=shard.labels)


def _settings(federation: Federation) -> dict[str, Any]:
    """What `config.json` says: PFLlib's three keys, and ours."""
    counts = [
        [[label, int(count)] for label, count in enumerate(row) if count]
        for row in federation.label_counts()
    ]
    partition = federation.partition
    return {
        "format": FORMAT,
        "num_clients": len(federation),
        "num_classes": federation.classes,
        "Size of samples for labels in clients": counts,
        "class_names": list(federation.class_names),
        "pixels": federation.pixels,
        "partition": dataclasses.asdict(partition) if partition else None,
        "fingerprint": federation.fingerprint(),
    }
