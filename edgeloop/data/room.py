"""Whether what a file unpacks to has room on this machine, asked before any of it is taken."""

import os
from zipfile import ZipInfo

from edgeloop.errors import DataError, MisfitError

_GIB = 2**30
_SMALL = 2**26
"""Bytes that any file may unpack to."""
_DENSEST = 200
"""Times that samples become smaller by packing at most; measured ones do 2 to 50 times."""


def memory() -> int | None:
    """Return this machine's memory in bytes; None where there is no telling."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_room(field: str, what: str, needed: int) -> None:
    """Refuse what this machine has no memory for.

    Args:
        field: whose it is.
        what: takes the room, such as `70 images of 9 x 9`.
        needed: bytes.

    Raises:
        MisfitError: saying how much, and how much there is.
    """
    there = memory()
    if there is not None and needed > there:
        problem = f"{what} are {needed / _GIB:.0f} GiB as floats"
        remedy = f"have smaller or fewer ones; this machine has {there / _GIB:.0f} GiB"
        raise MisfitError(field, problem, remedy)


def check_member(path: str, member: ZipInfo, limit: int) -> None:
    """Refuse a packed array that unpacks to too much, before it is unpacked.

    Raises:
        DataError: more than `limit` bytes, far more than samples pack to, or than this machine has.
    """
    size, name = member.file_size, f"`{member.filename}`"
    if size > limit:
        problem = f"{name} unpacks to {size} bytes, above the limit of {limit}"
        raise DataError(path, problem, "divide the data among more clients")
    if size > _SMALL and size > _DENSEST * max(member.compress_size, 1):
        times = size // max(member.compress_size, 1)
        problem = f"{name} unpacks to {size / _GIB:.1f} GiB, {times} times its size"
        raise DataError(path, problem, "no samples pack so well: get the file from its maker")
    there = memory()
    if there is not None and 2 * size > there:
        problem = (
            f"{name} unpacks to {size / _GIB:.1f} GiB, and this machine has {there / _GIB:.1f}"
        )
        raise DataError(path, problem, "divide the data among more clients")
