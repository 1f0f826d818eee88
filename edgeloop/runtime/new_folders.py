"""Folders that something is written in before it takes its place; a killed writer's are removed.

A writer holds a lock on its folder, which the system lets go when it ends, however that was: a
folder that nobody holds is nobody's any more.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_made: set[Path] = set()
"""New folders of this process, whose own lock it holds: nobody looks for what is left in them."""

PREFIX = ".new-"
OLD = ".old"
"""In a new folder: what the folder beside it is about to replace, and is not yet gone."""


@contextmanager
def new_folder(home: Path, prefix: str = PREFIX) -> Iterator[Path]:
    """Give an empty folder within a folder, and remove it with all that is left in it at the end.

    Those that killed processes have left there are removed first.

    Args:
        home: the folder that it is in, which exists.
        prefix: of its name, a dot first, so that listings overlook it.

    Raises:
        OSError: if nothing can be written there.
    """
    home = home.resolve()
    with held(home):
        for left in home.glob(f"{prefix}*"):
            _remove_if_left(left)
        building = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
        handle = os.open(building, os.O_RDONLY)
        _lock(handle)
    _made.add(building)
    try:
        yield building
    finally:
        _made.discard(building)
        shutil.rmtree(building, ignore_errors=True)
        os.close(handle)


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Hold a folder's own lock: nobody else looks for what is left while a new one is made.

    A new folder of this process's is held already.
    """
    if home.resolve() in _made:
        yield
        return
    handle = os.open(home, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_if_left(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # gone meanwhile, or another user's
    try:
        if folder.is_dir() and _lock(handle):
            _complete(folder)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _complete(folder: Path) -> None:
    """Put in its place what was killed after the old one had gone from there."""
    if not (folder / OLD).exists():
        return
    for new in folder.iterdir():
        if new.name != OLD and not (folder.parent / new.name).exists():
            new.rename(folder.parent / new.name)


def _lock(handle: int) -> bool:
    """Return whether a folder could be locked, which its writer's process has not let go else."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
