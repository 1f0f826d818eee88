"""A stack's folder has one stack at a time, and none while a killed one's parts are still there."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeloop.errors import TakenError

LONGEST_SECONDS = 60.0


@contextmanager
def hold_folder(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Hold a folder; yield a file descriptor that every part is to hold, too.

    The system lets a lock go when the last process that holds it ends: so the next stack waits
    for what a killed one has left behind.

    Raises:
        TakenError: if another stack has the folder, or its parts do not end.
    """
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        mine, parts = (_open(folder / name, stack) for name in ("up.lock", "parts.lock"))
        if not _lock(mine):
            remedy = "stop it, or give this one another folder"
            raise TakenError(str(folder), "another edgeloop up is running on it", remedy)
        _wait_for(parts, folder, say)
        yield parts


def _wait_for(parts: int, folder: Path, say: Callable[[str], None]) -> None:
    given_up = time.monotonic() + LONGEST_SECONDS
    said = False
    while not _lock(parts):
        if not said:
            say("waits for the parts of an edgeloop up that was killed")
            said = True
        if time.monotonic() > given_up:
            problem = "parts of an edgeloop up that was killed are still running"
            remedy = f"end them; fuser {folder / 'parts.lock'} names them"
            raise TakenError(str(folder), problem, remedy)
        time.sleep(0.1)  # between looks at processes that are ending


def _open(path: Path, stack: ExitStack) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    stack.callback(os.close, handle)
    return handle


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
