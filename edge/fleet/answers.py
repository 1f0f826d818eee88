"""What a fleet's devices answer: uploads of a task's shape and an asked size, without torch.

Shape suffixes: N uploaded prototypes, D features.
"""

import json
import re
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeloop.answers import Report
from edgeloop.errors import ConfigError
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract
from edgeloop.protocol.wire import Envelope

ALGORITHMS = ("fedgh", "fedorgp", "fedproto", "fedtgp")
"""Whose uploads are prototypes of the task's width."""

NEAR = 0.1  # the share of an asked size that an upload may differ by
MOST_WIDTH = 8192  # of a contract's features
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "kib": 2**10, "mib": 2**20}
_SMALL_REPORT = Report(5, 10, 10, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class PrototypeUpload:
    """The same on the wire as `edgeloop.knowledge.prototypes.PrototypeUpload`, which needs torch.

    Attributes:
        labels_N: the classes, ascending.
        counts_N: of training samples.
        prototypes_ND: the prototypes.
    """

    labels_N: npt.NDArray[np.int64]
    counts_N: npt.NDArray[np.int64]
    prototypes_ND: npt.NDArray[np.float32]


def parse_size(text: str) -> int:
    """Return how many bytes a size such as 40KB or 1MiB is.

    Raises:
        ConfigError: if it is none.
    """
    found = re.fullmatch(r"(\d{1,9}) ?([A-Za-z]*)", text.strip())
    if found is None or found[2].lower() not in _UNITS or not int(found[1]):
        raise ConfigError("payload", f"{text!r} is no size", "write it like 40KB or 1MiB")
    return int(found[1]) * _UNITS[found[2].lower()]


class Answers:
    """Makes each device's answer to each round.

    Args:
        contract: of the task.
        payload: bytes of an upload, or None for prototypes of all classes.

    Attributes:
        classes: how many classes an upload has.

    Raises:
        ConfigError: if the task's algorithm sends something else, or its uploads are not so large.
    """

    def __init__(self, contract: Contract, payload: int | None) -> None:
        if contract.algorithm not in ALGORITHMS:
            problem = f"{contract.task} is a task of {contract.algorithm}, whose uploads are others"
            raise ConfigError("task", problem, f"choose one of {', '.join(ALGORITHMS)}")
        self._contract = contract
        self.classes = len(contract.class_names)
        if payload is not None:
            self.classes = self._classes_of(payload)
        draws = np.random.default_rng(contract.seed)
        shape = self.classes, contract.width
        self._prototypes_ND = draws.standard_normal(shape, dtype=np.float32)
        self._labels_N = np.arange(self.classes, dtype=np.int64)

    def _classes_of(self, payload: int) -> int:
        """Return how many classes' prototypes are about so many bytes."""
        least, each = self._size(1), self._size(2) - self._size(1)
        most = least + (self.classes - 1) * each
        count = min(max(round((payload - least) / each) + 1, 1), self.classes)
        if abs(least + (count - 1) * each - payload) > NEAR * payload:
            problem = f"{payload} bytes, and {self._contract.task} has uploads of"
            problem += f" {least} to {most} bytes, in steps of {each}"
            remedy = "ask for such a size, or have --write-task write a task of this one"
            raise ConfigError("payload", problem, remedy)
        return count

    def _size(self, classes: int) -> int:
        labels_N = np.arange(classes, dtype=np.int64)
        prototypes_ND = np.zeros((classes, self._contract.width), np.float32)
        upload = PrototypeUpload(labels_N, labels_N + 1, prototypes_ND)
        name = max(self._contract.devices, key=len, default="device")
        return len(wire.encode(self._envelope(0, name), upload, _SMALL_REPORT))

    def _envelope(self, number: int, device: str) -> Envelope:
        return Envelope(self._contract.task, self._contract.run, number, device)

    def frame(self, device: str, number: int) -> bytes:
        """Return a device's answer to a round; after the last one it is a report alone."""
        envelope = self._envelope(number, device)
        if number >= self._contract.rounds:
            return wire.encode(replace(envelope, evaluates=True), _SMALL_REPORT)
        own = np.float32(
            1 + number + zlib.crc32(device.encode()) % 997 / 997
        )  # so that no two are equal
        upload = PrototypeUpload(
            self._labels_N, np.ones(self.classes, np.int64), self._prototypes_ND * own
        )
        return wire.encode(envelope, upload, _SMALL_REPORT)


def task_file(task: str, devices: int, payload: int, port: int) -> str:
    """Return the TOML of a task that a fleet can answer, with uploads of about this size.

    Args:
        task: its name.
        devices: how many it invites.
        payload: bytes of an upload.
        port: of its broker.
    """
    classes = max(10, -(-payload // (4 * MOST_WIDTH)))
    width = max(1, (payload - 1000) // (4 * classes))
    names = [f"device-{number:05}" for number in range(devices)]
    keys = {
        "name": task,
        "algorithm": "fedproto",
        "class_names": [f"class {number}" for number in range(classes)],
        "shape": [1, 28, 28],
        "width": width,
        "rounds": 5,
        "folder": f"{task}-task",
    }
    tables: dict[str, dict[str, Any]] = {
        "broker": {"port": port},
        "cohort": {"devices": names, "quorum": max(1, devices * 9 // 10), "deadline_seconds": 60.0},
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    for name, table in tables.items():
        lines += [
            "",
            f"[{name}]",
            *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
        ]
    return "\n".join([*lines, ""])
