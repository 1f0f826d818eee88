import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.agent.store import Memory, Store, write_safely
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


WRITER = """
import sys
from pathlib import Path
from edge.agent.store import write_safely
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    write_safely(path, str(number).encode() * 200_000)
    print(number, flush=True)
"""


def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=os.getcwd()) as process:
            assert process.stdout is not None
            for _ in range(5):
                done = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        done = int(rest[-1]) if rest else done
        content = path.read_bytes()
        assert content in {str(number).encode() * 200_000 for number in (done, done + 1)}


def test_nothing_else_is_left_behind(tmp_path: Path) -> None:
    write_safely(tmp_path / "state", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
