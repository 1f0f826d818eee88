import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeloop.runtime.atomic_files import write

WRITER = """
import sys
from pathlib import Path
from edgeloop.runtime.atomic_files import write
path, number = Path(sys.argv[1]), 0
while True:
    number += 1
    write(path, str(number).encode() * 200_000)
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
    write(tmp_path / "state", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_those_who_write_one_file_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    path, whole = tmp_path / "state", [bytes([65 + each]) * 50_000 for each in range(8)]
    seen: set[bytes] = set()
    with ThreadPoolExecutor(len(whole)) as pool:
        for _ in range(10):
            done = [pool.submit(write, path, each) for each in whole]
            while not all(each.done() for each in done):
                seen |= {path.read_bytes()} if path.exists() else set()
            for each in done:
                each.result()
    assert seen <= set(whole)
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_what_a_crash_has_left_is_taken_for_no_content(tmp_path: Path) -> None:
    left = tmp_path / ".state.new"
    left.write_bytes(b"much more than is written now")
    left.chmod(0o644)
    write(tmp_path / "state", b"new", 0o600)
    assert (tmp_path / "state").read_bytes() == b"new"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_a_disk_that_is_full_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write(tmp_path / "state", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "state", b"new")
    assert (tmp_path / "state").read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["state"]
