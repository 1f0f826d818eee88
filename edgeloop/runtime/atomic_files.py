"""Files that are always whole: on the disk when a call returns, and never half there."""

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeloop.errors import ConfigError, RunError, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AWAY = (errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN)
"""Of a disk that is elsewhere, and may be back."""

_NEW = ".new"
"""The end of the name that a file has until it is whole; it begins with a dot."""

_SHA256 = re.compile("[0-9a-f]{64}")

CHECKSUM = "checksum"
"""The key of a JSON file's own SHA-256, of all that it says besides."""


def home() -> Path:
    """Return the user's home.

    Raises:
        ConfigError: of a user who has none, as in a container.
    """
    try:
        return Path.home()
    except RuntimeError as error:
        problem = f"is not set, and user {os.getuid()} has no home"
        raise ConfigError("HOME", problem, "set it to a folder of this user's") from error


def write_json(path: Path, content: Mapping[str, Any], mode: int = 0o666) -> None:
    """Write JSON; a crash leaves the old file or the new one."""
    write(path, (json.dumps(content, indent=1) + "\n").encode(), mode)


def write_checked_json(path: Path, content: Mapping[str, Any], mode: int = 0o666) -> None:
    """Write JSON with a checksum in it, as `write_json` does."""
    write_json(path, {**content, CHECKSUM: json_digest(content)}, mode)


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` or `write_checked_json` wrote, without its checksum.

    Raises:
        OSError: if there is no file that can be read.
        ValueError: if it is no JSON, or says something else than was written.
    """
    content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        for key in [each for each, value in content.items() if _is_sum(each, value)]:
            noted, rest = content[key], {each: content[each] for each in content if each != key}
            right = noted == json_digest(rest)
            if key == CHECKSUM and right:
                return rest
            if key == CHECKSUM or right:  # the key itself may be what is damaged
                raise ValueError("its checksum differs")
    return content


def _is_sum(key: str, value: object) -> bool:
    return key == CHECKSUM or (isinstance(value, str) and bool(_SHA256.fullmatch(value)))


def json_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a JSON file says, however it is laid out."""
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return a file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_json(text: str | bytes | bytearray) -> Any:
    """Return what a text of JSON says.

    Raises:
        ValueError: if it is none, or nested so deeply that nobody meant it.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write bytes; a crash leaves the old file or the new one.

    Of those who write the same file at once, one comes after the other.

    Args:
        path: of the file.
        content: all of it.
        mode: who may read and write it, less what the process's mask takes.
    """
    building = path.with_name(f".{path.name}{_NEW}")
    with os.fdopen(_own(building, mode), "wb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            building.replace(path)
        except OSError:
            with suppress(OSError):  # half a file would fill a full disk
                building.unlink(missing_ok=True)
            raise
    sync(path.parent)


def _own(building: Path, mode: int) -> int:
    """Return a handle of a new file that nobody else writes; its lock ends with the handle."""
    while True:
        try:
            handle = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            _remove_if_left(building)
            continue
        _lock(handle)
        if _is_at(building, handle):
            return handle
        os.close(handle)  # somebody took it for a crash's before it was locked


def _remove_if_left(building: Path) -> None:
    """Wait for who writes a file; remove one that a crash has left, which nobody holds."""
    try:
        handle = os.open(building, os.O_RDONLY)
    except FileNotFoundError:
        return
    except PermissionError:  # another user's: nobody waits for him, as nobody may
        building.unlink(missing_ok=True)
        return
    try:
        _lock(handle)
        if _is_at(building, handle):
            building.unlink()
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    with suppress(OSError):  # of a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)


def _is_at(path: Path, handle: int) -> bool:
    """Return whether the file of a handle is still the one that a path names."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def is_empty(folder: Path) -> bool:
    """Return whether a folder holds nothing but what was killed as it was being written.

    Raises:
        OSError: if it cannot be read.
    """
    return all(map(is_unfinished, folder.iterdir()))


def is_unfinished(path: Path) -> bool:
    """Return whether a file is one that is being written, or was when its process was killed."""
    return path.name.startswith(".") and path.suffix == _NEW


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Say it in one sentence where a folder cannot be written within, in the place of an OSError.

    Raises:
        RunError: naming the folder.
        StorageError: if its disk is full, or away for now.
    """
    try:
        yield
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        if error.errno in _FULL:
            remedy = "free space there, and start it again"
            raise StorageError(f"folder {folder}", problem, remedy) from error
        if error.errno in _AWAY:
            remedy = "check its disk, and start it again"
            raise StorageError(f"folder {folder}", problem, remedy) from error
        remedy = "name a folder that can be written"
        raise RunError(f"folder {folder}", problem, remedy) from error


def sync(path: Path) -> None:
    """Have the disk hold what a file or folder says, when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
