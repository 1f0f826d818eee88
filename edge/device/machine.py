"""Looks at the machine: its disk, its memory, its clock, the torch that it has."""

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

import edgeloop
from edge.agent import leaving, torch_build
from edge.agent.folder import LOCK, hold_folder
from edge.agent.settings import DeviceSettings
from edge.agent.store import AgentStore
from edge.agent.torch_build import CPU_TORCH
from edge.device.findings import MEGABYTE, Finding, error, note, of_error, ok, warning
from edgeloop.errors import EXIT_UNAVAILABLE, EdgeloopError, TakenError
from edgeloop.mqtt.tls import written

LEAST_DISK, GOOD_DISK = 50 * MEGABYTE, 500 * MEGABYTE
"""Free bytes below which no state can be kept, and below which it may soon be so."""

LEAST_MEMORY, GOOD_MEMORY = 150 * MEGABYTE, 512 * MEGABYTE
"""Available bytes: what an agent takes without a network, and with a small one."""


def look_at_folder(device: DeviceSettings) -> Iterator[Finding]:
    """Look at the device's folder: whose it is, whether it can be written, and the disk's room."""
    folder = device.folder
    try:
        leaving.check(device)
        with hold_folder(folder):
            AgentStore(folder, device.name, device.task)
            probe = folder / ".doctor"
            probe.write_bytes(b"probe")
            probe.unlink()
    except TakenError as problem:
        yield note("folder", f"{problem.field}: {problem.problem}", "see edgeloop agent status")
    except EdgeloopError as problem:
        yield of_error("folder", problem)
        return
    except OSError as problem:
        found = f"{folder}: cannot be written ({problem.strerror})"
        yield error("folder", found, "let this user write it, or name another folder")
        return
    else:
        yield ok("folder", f"{folder} can be written")
    yield _disk(folder)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / MEGABYTE:.0f} MB are free at {folder}"
    if free < LEAST_DISK:
        return error("disk", found, "free space there, or name another folder", EXIT_UNAVAILABLE)
    if free < GOOD_DISK:
        return warning("disk", found, "free space there: a model and its state are kept, too")
    return ok("disk", found)


def look_at_memory(available: float | None = None) -> Finding:
    """Look at the memory that a process may have: the machine's, or its control group's.

    Args:
        available: bytes, instead of what the machine says.
    """
    free = _available() if available is None else available
    found = f"{free / MEGABYTE:.0f} MB are available"
    if free < LEAST_MEMORY:
        return error("memory", found, "stop other programs, or add swap", EXIT_UNAVAILABLE)
    if free < GOOD_MEMORY:
        remedy = "choose a small architecture, or add swap"
        return warning("memory", f"{found}; training a network takes 300 MB and more", remedy)
    return ok("memory", found)


def _available() -> float:
    free = float(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = float((group / "memory.max").read_text())
        used = float((group / "memory.current").read_text())
    except (OSError, ValueError):  # no group of ours, or "max"
        return free
    return min(free, limit - used)


def look_at_clock(now: float | None = None) -> Finding:
    """Look whether the clock can be right: it cannot be before this program was installed.

    Args:
        now: seconds since 1970, instead of the machine's clock.
    """
    seconds = time.time() if now is None else now
    said = written(datetime.fromtimestamp(seconds, UTC))
    installed = Path(edgeloop.__file__).stat().st_mtime
    if seconds < installed:
        since = written(datetime.fromtimestamp(installed, UTC))
        found = f"says {said}, and edgeloop was installed at {since}: no certificate would hold"
        return error("clock", found, "set it: timedatectl set-ntp true")
    return ok("clock", f"says {said}")


def look_at_torch(asked: str, root: Path = Path("/")) -> Finding:
    """Look which torch is installed, without importing it, and whether it suits the machine.

    Args:
        asked: where the device trains, as torch names it.
        root: of the file system in which GPUs are looked for.
    """
    number = torch_build.torch_version()
    if not number:
        found = "is not installed: the device takes part only in tasks that train no network"
        return note("torch", found, f"{CPU_TORCH}, then pip install 'edgeloop[edge]'")
    for_gpus, has_gpu = torch_build.is_for_gpus(), torch_build.sees_gpu(root)
    if asked.startswith("cuda") and not (for_gpus and has_gpu):
        lacking = "no GPU is seen here" if for_gpus else f"torch {number} is the build for CPUs"
        return error("torch", f'training.device = "{asked}", and {lacking}', 'give "cpu"')
    if found := torch_build.misplaced(root):
        return warning("torch", found, torch_build.INSTEAD)
    return ok("torch", number)


def is_at_work(folder: Path) -> bool:
    """Return whether an agent holds a device's folder, if this user may look into it."""
    if not os.path.exists(folder / LOCK):  # Path's own raises where it may not
        return False
    try:
        with hold_folder(folder):
            return False
    except TakenError:
        return True
    except EdgeloopError:  # it cannot be written; the look at it says so
        return False
