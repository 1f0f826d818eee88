"""A device's folder: one for each device, and one agent at a time in it."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.agent.settings import DeviceSettings
from edge.agent.store import STATE, device_of_folder
from edgeloop.errors import TakenError
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

LOCK = "lock"
_TAKEN = (errno.EAGAIN, errno.EACCES)


def device_settings(settings: DeviceSettings, name: str) -> DeviceSettings:
    """Return the settings of one of many devices that share a file: its name, and its own folder.

    The folder is the file's with the name behind it, unless the file's has this device's state, as
    of before each had its own; so is the one that it has enrolled into.
    """
    before = settings.folder
    used = (before / STATE).exists() and device_of_folder(before) == name
    folder = before if used else before / name
    own = settings.enrolment and settings.enrolment / name
    return settings.model_copy(update={"name": name, "folder": folder, "enrolment": own})


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Have a folder for this process alone; make it if it is not there.

    Raises:
        RunError: if it cannot be written.
        StorageError: if its disk is full, or away.
        TakenError: if another agent has it.
    """
    lock = _opened(folder)
    try:
        _take(lock, folder)
        yield
    finally:
        os.close(lock)


def _opened(folder: Path) -> int:
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _take(lock: int, folder: Path) -> None:
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _TAKEN:
            problem = "another agent is at work in it"
            remedy = "stop that one, or name a folder of its own"
            raise TakenError(f"folder {folder}", problem, remedy) from error
        log.warning(
            "%s cannot be locked (%s): make sure that only one agent uses it", folder, error
        )
