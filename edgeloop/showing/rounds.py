"""Reads the files that a run's rounds left behind, and finds out whether they are whole.

Shape suffixes: N uploaded prototypes, D their entries, C classes, P entries of one input.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from edgeloop.errors import RunError
from edgeloop.runtime import checked_tensors

Array = NDArray[Any]

_FLAGS = "broadcast.known_C"
_GLOBAL = "broadcast.prototypes_CD"
_IMAGES = "broadcast.images_NP"


@dataclass(frozen=True, eq=False)
class Round:
    """What a closed round left behind, as `edgeloop.round_history` writes it.

    Attributes:
        number: of the round.
        arrays: by name: labels (N,), devices (N,), prototypes (N, D), broadcast.FIELD.
        devices: the names that `arrays["devices"]` points into.
    """

    number: int
    arrays: Mapping[str, Array]
    devices: tuple[str, ...] = ()

    @property
    def images(self) -> Array | None:
        """The broadcast's images (classes, P), class n's in row n; None if it has none."""
        images_NP = self.arrays.get(_IMAGES)
        return images_NP if images_NP is not None and len(images_NP) else None

    def global_prototypes(self) -> dict[int, Array]:
        """Return the broadcast's prototypes by class; none where it has none."""
        prototypes_CD = self.arrays.get(_GLOBAL, np.zeros((0, 0)))
        known_C = self.arrays.get(_FLAGS, np.ones(len(prototypes_CD), bool))
        return {int(label): prototypes_CD[label] for label in np.flatnonzero(known_C)}

    def floats_up(self) -> dict[str, int]:
        """Count the numbers in each device's uploaded prototypes."""
        if "prototypes" not in self.arrays:
            return {}
        width = self.arrays["prototypes"].shape[1]
        counts = np.bincount(self.arrays["devices"], minlength=len(self.devices))
        return {name: int(count) * width for name, count in zip(self.devices, counts, strict=True)}

    def floats_down(self) -> int:
        """Count the numbers in the broadcast; of prototypes only those that there are."""
        others = (
            array.size
            for name, array in self.arrays.items()
            if name.startswith("broadcast.") and name not in (_GLOBAL, _FLAGS)
        )
        return sum(others) + sum(each.size for each in self.global_prototypes().values())


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
