import os
import signal
import subprocess
import sys
from pathlib import Path

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
