"""What a process has taken so far, as Linux tells it under /proc."""

import os
from pathlib import Path


def processor_seconds(process: int) -> float:
    """Return the seconds that a process has had a processor."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int | None) -> float:
    """Return the memory (MiB) of a process that is in RAM, this one's by default.

    Raises:
        OSError: if there is no such process.
        RuntimeError: if it has ended.
    """
    found = mebibytes(_status(process), "VmRSS")
    if found is None:
        raise RuntimeError(f"process {process} has ended")
    return found


def most_resident(process: int) -> float | None:
    """Return the most memory (MiB) that a process has had in RAM; None once it has ended.

    Raises:
        OSError: if there is no such process.
    """
    return mebibytes(_status(process), "VmHWM")


def mebibytes(status: str, name: str) -> float | None:
    """Return a size of a process' status; None if that has none."""
    found = [line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:")]
    return int(found[0]) / 1024 if found else None


def _status(process: int | None) -> str:
    return Path(f"/proc/{process or 'self'}/status").read_text(encoding="utf-8")
