"""What the chaos can do to a machine, where it may: small disks that fill up, and false clocks."""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMPILER = shutil.which("cc") if sys.platform == "linux" else None
FILLING = "filling"


def unable() -> dict[str, str]:
    """Return which kinds of faults cannot be done here, and why."""
    found = {}
    if not may_mount():
        found["full"] = "only root may mount a small disk"
    if COMPILER is None:
        found["clock"] = "no C compiler makes the false clock (Linux only)"
    return found


def may_mount() -> bool:
    return os.geteuid() == 0 and not _mount("--help")


def _mount(*words: str) -> int:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode  # noqa: S607


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """Have a folder on a disk of so many bytes, if that may be; else just a folder."""
    place.mkdir(parents=True)
    options = f"size={size},mode=0755"
    mounted = may_mount() and not _mount("-t", "tmpfs", "-o", options, "edgeloop-chaos", str(place))
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)  # noqa: S607


def fill(place: Path) -> None:
    """Leave no byte free on a small disk."""
    assert place.is_mount(), "it would fill the machine's own disk"
    with (place / FILLING).open("wb", buffering=0) as file:
        block = 2**20
        while block:
            try:
                file.write(bytes(block))
            except OSError:
                block //= 2


def free(place: Path) -> None:
    """Give the space back."""
    (place / FILLING).unlink(missing_ok=True)


def false_clock(folder: Path) -> Path | None:
    """Make what gives a process a clock of its own; None where that cannot be."""
    if COMPILER is None:
        return None
    made, source = folder / "clock.so", Path(__file__).with_name("clock.c")
    command = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(made), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return made


def clock_variables(made: Path | None, path: Path) -> Mapping[str, str]:
    """Return the environment of a process whose wall clock a file sets; it is right at first."""
    path.write_bytes(bytes(8))
    return {} if made is None else {"LD_PRELOAD": str(made), "EDGELOOP_CLOCK": str(path)}


def set_clock(path: Path, seconds: int) -> None:
    """Have a process's clock be so far ahead, or behind."""
    with path.open("r+b") as file:  # the process maps it: no other file will do
        file.write(struct.pack("q", seconds))
