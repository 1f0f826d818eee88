"""Classes by name: a device's own numbers of them become its task's."""

import difflib
import logging
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import MisfitError

log = logging.getLogger(__name__)

_SHOWN = 300  # letters of a list of names in a message


def class_numbers(
    own: Sequence[str], task: Sequence[str], held: Iterable[int] | None = None
) -> NDArray[np.int64]:
    """Return the task's number of each of a source's classes, (C,); -1 of one that nobody looks at.

    Names count as they are written, in any order; a folder cannot have a slash in its name, and has
    an underscore in its place. Classes of a source that only numbers them, where the task names
    them, are numbered as the task numbers them.

    Args:
        own: the source's names, in the order of its numbers.
        task: of the task.
        held: the numbers of the classes that the device has samples of; None for all.

    Raises:
        MisfitError: a class that the device has samples of, and the task does not have.
    """
    if tuple(own) == tuple(task):
        return np.arange(len(own))
    places = _places(task)
    found = np.array([places.get(_plain(name), -1) for name in own], np.int64)
    wanted = range(len(own)) if held is None else sorted(held)
    if any(found[number] < 0 for number in wanted) and _only_numbers(own, places):
        return _as_numbers(own, task)
    for number in wanted:
        if found[number] < 0:
            raise _unknown(own[number], task)
    return found


def _plain(name: str) -> str:
    """Return a name as every file system writes it alike."""
    return unicodedata.normalize("NFC", name).strip()


def _places(task: Sequence[str]) -> dict[str, int]:
    plain = [_plain(name) for name in task]
    as_folders = {name.replace("/", "_"): number for number, name in enumerate(plain)}
    return as_folders | {name: number for number, name in enumerate(plain)}


def _only_numbers(own: Sequence[str], places: dict[str, int]) -> bool:
    """Return whether a source has numbers for names, and the task has others."""
    numerals = all(name.isascii() and name.isdecimal() for name in own)
    return numerals and not any(name in places for name in own)


def _as_numbers(own: Sequence[str], task: Sequence[str]) -> NDArray[np.int64]:
    most = max(map(int, own))
    if most >= len(task):
        problem = f"its classes have no names, and the numbers 0 to {most}"
        remedy = f"name them as the task's {len(task)} are called ({_listed(task)})"
        raise MisfitError("data.source", problem, remedy)
    log.info("the classes of the data have no names: their numbers are taken as the task's")
    return np.array([int(name) for name in own], np.int64)


def _unknown(name: str, task: Sequence[str]) -> MisfitError:
    folded = {_plain(each).casefold(): each for each in task}
    close = difflib.get_close_matches(_plain(name).casefold(), folded, n=1)
    meant = (
        f"did you mean {folded[close[0]]}" if close else "rename it, or have the task take it in"
    )
    problem = f"its class {name!r} is none of the task's ({_listed(task)})"
    return MisfitError("data.source", problem, meant)


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
