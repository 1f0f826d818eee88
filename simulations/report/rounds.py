"""Reads the files that a run's rounds left behind, and finds out whether they are whole."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from edgeloop.errors import RunError
from edgeloop.runtime import checked_tensors
from simulations.report.report_data import Array, Round


def read_round(path: Path) -> Round:
    """Read a round's file, as `edgeloop.round_history` wrote it.

    Raises:
        RunError: if it cannot be read, or its arrays do not belong together.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
            metadata = file.metadata() or {}
        checked_tensors.check(arrays, metadata)
        devices = json.loads(metadata.get("devices", "[]"))
        number = int(path.stem.removeprefix("round-"))
        found = Round(number, arrays, tuple(str(name) for name in devices))
        _check(found)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise damaged(path, str(error)) from error
    return found


def read_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of a last broadcast, and find out whether they belong together.

    Raises:
        RunError: if they cannot be read, or do not.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
            checked_tensors.check(arrays, file.metadata())
        _check_broadcast({f"broadcast.{name}": array.shape for name, array in arrays.items()})
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise damaged(path, str(error)) from error
    return arrays


def _check(found: Round) -> None:
    """Find out whether the arrays belong together.

    Raises:
        ValueError: saying why not.
    """
    shapes = {name: array.shape for name, array in found.arrays.items()}
    _check_broadcast(shapes)
    uploads = [shapes.get(name) for name in ("labels", "devices", "prototypes")]
    if any(each is not None for each in uploads):
        labels, devices, prototypes = uploads
        if not labels or len(labels) != 1 or devices != labels or not prototypes:
            raise ValueError("labels, devices and prototypes do not belong together")
        if len(prototypes) != 2 or prototypes[0] != labels[0] or not prototypes[1]:
            raise ValueError(f"prototypes are {prototypes}, of {labels[0]} labels")
        if any(_no_number(found.arrays[name]) for name in ("labels", "devices")):
            raise ValueError("a label or a device is no number from 0")
        if (found.arrays["devices"] >= len(found.devices)).any():
            raise ValueError("a device has no name")


def _no_number(array: Array) -> bool:
    return array.dtype.kind != "i" or bool((array < 0).any())


def _check_broadcast(shapes: Mapping[str, tuple[int, ...]]) -> None:
    known, whole = shapes.get("broadcast.known_C"), shapes.get("broadcast.prototypes_CD", (0, 0))
    if len(shapes.get("broadcast.images_NP", (0, 0))) != 2:
        raise ValueError("the broadcast's images are not one a class")
    if len(whole) != 2 or known not in (None, (whole[0],)):
        raise ValueError("the broadcast's prototypes are not one a class")


def damaged(path: Path, problem: str) -> RunError:
    """Say that a file of a demo, or of a run, is damaged."""
    remedy = "restore it, or run it again into a new folder"
    return RunError(str(path), f"is damaged ({problem})", remedy)
