"""What a run exchanged, round by round, in files that reports are made from.

round-00007.safetensors    what round 7 led to:
    broadcast.FIELD        each array of the broadcast that its uploads made
    labels, prototypes     (N,) and (N, D): all uploaded prototypes, where the algorithm has some
    devices                (N,): whose, as an index into the metadata's `devices`, a JSON list

The metadata have a checksum, too.

Shape suffixes: N uploaded prototypes, D their entries.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.protocol import wire
from edgeloop.runtime import atomic_files, checked_tensors
from edgeloop.server_loop import RoundResult

Arrays = dict[str, NDArray[Any]]


def file_of(folder: Path, round_number: int) -> Path:
    """Return where a round's file is, or would be."""
    return folder / f"round-{round_number:05}.safetensors"


def kept(folder: Path) -> list[int]:
    """Return of which rounds a folder has a file, ascending; none where there is no folder."""
    names = (path.stem.removeprefix("round-") for path in folder.glob("round-*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def write_round(folder: Path, closed: RoundResult[Any, Any, Any]) -> Path:
    """Write a closed round's file into a folder, which is made if it is not there."""
    path = file_of(folder, closed.number)
    names = sorted(closed.answers)
    every = {name: closed.answers[name].upload for name in names}
    uploads = {name: upload for name, upload in every.items() if upload is not None}
    arrays = {**_broadcast(closed.run_state.broadcast), **_prototypes(uploads)}
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"devices": json.dumps(list(uploads))}
        atomic_files.write(path, checked_tensors.content(arrays, facts))
    return path


def forget(folder: Path, devices: Collection[str]) -> None:
    """Remove the files that devices have a part in: of their first round, and of all after it."""
    paths = sorted(folder.glob("round-*.safetensors"))
    first = next((n for n, path in enumerate(paths) if _has(path, devices)), len(paths))
    with atomic_files.writing(folder):
        for path in reversed(paths[first:]):  # the first one last: it says where they begin
            path.unlink()


def _has(path: Path, devices: Collection[str]) -> bool:
    """Return whether a round was made of one of these; so it may be where nobody can tell."""
    try:
        with safe_open(path, framework="np") as file:
            return not set(devices).isdisjoint(atomic_files.parse_json(file.metadata()["devices"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return True


def _broadcast(message: Any) -> Arrays:
    return {
        f"broadcast.{name}": np.ascontiguousarray(value)
        for name, value in wire.arrays(message).items()
    }


def _prototypes(uploads: Mapping[str, Any]) -> Arrays:
    if not uploads or not all(isinstance(each, PrototypeUpload) for each in uploads.values()):
        return {}
    counts = [len(upload.labels_N) for upload in uploads.values()]
    return {
        "labels": np.concatenate([upload.labels_N for upload in uploads.values()]),
        "prototypes": np.concatenate([upload.prototypes_ND for upload in uploads.values()]),
        "devices": np.repeat(np.arange(len(counts)), counts),
    }
