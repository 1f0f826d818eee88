"""Folders of finished runs, written by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CLIENTS = ("client-00", "client-01", "client-02")
HEAD = "round,accuracy,accuracy_std,seconds,bytes_up,bytes_down,auc\n"


def write_run(
    folder: Path,
    algorithm: str = "fedproto",
    *,
    accuracies: Sequence[float] = (0.0, 0.5, 0.75),
    by_client: Sequence[float] = (0.5, 0.75, 1.0),
    seed: int = 0,
    fingerprint: str = "same",
    bytes_up: float = 100.0,
    **settings: Any,
) -> Path:
    """Write a run of three clients and two classes, whose numbers are these; return its folder."""
    config = {
        **{"algorithm": algorithm, "data": "/somewhere/tiny", "seed": seed, "workers": 2},
        **{"rounds": len(accuracies) - 1, "partition_fingerprint": fingerprint},
        **{"models_by_client": dict.fromkeys(CLIENTS, "cnn")},
        **{"hyperparameters": {"lr": 0.01, "seed": seed}, **settings},
    }
    summary = {
        "config": config,
        "accuracy_by_round": list(accuracies),
        "best_accuracy": max(accuracies),
        "best_round": accuracies.index(max(accuracies)),
        "final_accuracy": accuracies[-1],
        "auc_by_round": [None, *[0.875] * (len(accuracies) - 1)],
        "accuracy_by_client": dict(zip(CLIENTS, by_client, strict=True)),
        "samples_by_client": {name: {"train": 30, "test": 4} for name in CLIENTS},
        "model_by_client": config["models_by_client"],
        "seconds_per_round": 2.0,
        "seconds": {"training": 3.0, "evaluating": 1.0, "aggregating": 0.5, "wall": 6.0},
        "bytes_up_per_client": bytes_up,
        "bytes_down_per_client": 50.0,
        "floats_up_per_client": 8.0,
        "floats_down_per_client": 4.0,
        "peak_memory_bytes": 2**30,
    }
    folder.mkdir(parents=True)
    save(folder / "run.json", config)
    save(folder / "summary.json", summary)
    lines = [f"{n},{value},0,1.5,300,150,\n" for n, value in enumerate(accuracies)]
    (folder / "rounds.csv").write_text(HEAD + "".join(lines))
    counts = {name: {"train": [20 + n, 10], "test": [4, 0]} for n, name in enumerate(CLIENTS)}
    names = ["<b>shirt</b>", "boot"]
    save(folder / "partition.json", {"class_names": names, "shape": [1, 2, 2], "clients": counts})
    return folder


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content), encoding="utf-8")


def write_broadcast(folder: Path, *, images: bool = False) -> None:
    """Give a run a last broadcast: two prototypes, or two images."""
    prototypes = {
        "known_C": np.array([True, True]),
        "prototypes_CD": np.array([[0, 1, 2], [2, 1, 0]], np.float32),
    }
    pictures = {"images_NP": np.array([[0, 0, 0, 0], [9, 9, 9, 9]], np.uint8)}
    save_file(pictures if images else prototypes, folder / "prototypes.safetensors")
