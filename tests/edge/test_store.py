from pathlib import Path

import numpy as np
import pytest

from edge.agent.store import Memory, Store
from edgeloop.errors import RunError

WEIGHTS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(4)}
MEMORY = Memory("run-1", 3, b"\x00answer\xff", WEIGHTS, {"2": 0.5, "3": 0.75})


def test_what_is_saved_is_remembered(tmp_path: Path) -> None:
    Store(tmp_path / "device").save(MEMORY)
    got = Store(tmp_path / "device").load("run-1")
    assert got is not None
    assert (got.run, got.round, got.answer) == ("run-1", 3, b"\x00answer\xff")
    assert got.accuracies == {"2": 0.5, "3": 0.75}
    assert got.weights.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert got.weights[name].dtype == array.dtype
        assert got.weights[name].tolist() == array.tolist()


def test_another_runs_memory_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.load("run-1") is None
    store.save(MEMORY)
    assert store.load("run-2") is None


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.path.write_bytes(content)
    with pytest.raises(RunError, match=r"is damaged .*; remove it: the device then starts anew"):
        store.load("run-1")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="name one that can be made"):
        Store(tmp_path / "file" / "device")
