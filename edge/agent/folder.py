"""A device's folder: one for each device, and one agent at a time in it."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from edge.agent.settings import DeviceSettings
from edge.agent.store import STATE, device_of_folder
from edgeloop.errors import RunError, StorageError, TakenError
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

LOCK, SERVE_LOCK = "lock", "serve.lock"
_TAKEN = (errno.EAGAIN, errno.EACCES)


class Holder(NamedTuple):
    """Who has a lock: what it is, and what another one is told.

    Attributes:
        name: of its kind.
        problem: that there is another one.
        remedy: what to do about it.
    """

    name: str
    problem: str
    remedy: str


AGENT = Holder(
    "agent", "another agent is at work in it", "stop that one, or name a folder of its own"
)
SERVER = Holder(
    "server",
    "another edgeloop serve answers this device's requests by MQTT",
    "stop that one, or set mqtt = false in [serve] for this one",
)


def device_settings(settings: DeviceSettings, name: str) -> DeviceSettings:
    """Return the settings of one of many devices that share a file: its name, and its own folder.

    The folder is the file's with the name behind it, unless the file's has this device's state, as
    of before each had its own; so is the one that it has enrolled into.
    """
    before = settings.folder
    used = os.path.exists(before / STATE) and device_of_folder(before) == name
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
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _holding(_opened(folder, LOCK), folder, AGENT):
        yield


@contextmanager
def hold_requests(folder: Path) -> Iterator[None]:
    """Have the requests to a device's classifier by MQTT for this process alone.

    A folder that is not there yet, or may only be read, cannot be locked: that is logged, and two
    servers then take the connection from each other.

    Raises:
        TakenError: if another `edgeloop serve` answers them from this folder.
    """
    try:
        lock = _opened(folder, SERVE_LOCK)
    except (RunError, StorageError) as error:
        log.warning("%s; make sure that only one server answers by MQTT from it", error)
        yield
        return
    with _holding(lock, folder, SERVER):
        yield


def _opened(folder: Path, name: str) -> int:
    with atomic_files.writing(folder):
        return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


@contextmanager
def _holding(lock: int, folder: Path, holder: Holder) -> Iterator[None]:
    try:
        _take(lock, folder, holder)
        yield
    finally:
        os.close(lock)


def _take(lock: int, folder: Path, holder: Holder) -> None:
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _TAKEN:
            raise TakenError(f"folder {folder}", holder.problem, holder.remedy) from error
        log.warning(
            "%s cannot be locked (%s): make sure that only one %s uses it",
            folder,
            error,
            holder.name,
        )
