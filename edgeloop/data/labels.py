"""Labels as files have them, made into numbers from 0."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.samples import MOST_CLASSES, Labels
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

_LARGEST = 2**62
_NAMED = 5  # labels, in a message


def whole_labels(name: str, array: NDArray[Any]) -> Labels:
    """Return labels (N,) or (N, 1) of any type that holds whole numbers, as int64 (N,).

    Args:
        name: the file, for messages.
        array: the labels; an empty array of whatever shape is no labels.

    Raises:
        DataError: another shape or type, or a value that is no whole number.
    """
    if not array.size:
        return np.zeros(0, np.int64)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iufb":
        problem = f"`y` is {array.dtype} of shape {array.shape}"
        remedy = "store one whole number for each sample, (N,)"
        if array.ndim == 2:
            remedy += "; of one-hot rows, store the argmax"
        raise DataError(name, problem, remedy)
    if array.dtype.kind in "uf":
        wrong = ~(np.abs(array) < _LARGEST) | (array != np.floor(array))
        if wrong.any():
            first = int(np.argmax(wrong))
            problem = f"sample {first} has label {array[first]}, which is no number of a class"
            raise DataError(name, problem, "store whole numbers from 0")
    return array.astype(np.int64)


def numbered(name: str, column: str, cells: NDArray[Any]) -> tuple[Labels, tuple[str, ...]]:
    """Number labels that come without a list of names: (N,) from 0, and each class's name.

    Words are numbered in their order, numerals by their value. Numbers that leave some out are
    numbered anew, and said to be: their classes keep the numbers for names.

    Args:
        name: the source, for messages.
        column: what the labels are called there.
        cells: words or numbers (N,), none missing.

    Raises:
        DataError: neither words nor whole numbers, a negative one, or more classes than may be.
    """
    if not len(cells):
        raise DataError(name, "has no samples", "give it at least one of each class")
    if cells.dtype.kind == "f" and np.isfinite(cells).all() and (cells == np.floor(cells)).all():
        cells = cells.astype(np.int64)
    if cells.dtype.kind == "b":
        cells = cells.astype(np.int64)
    if cells.dtype.kind not in "iuU":
        problem = f"`{column}` holds something else than words or whole numbers"
        raise DataError(name, problem, "name or number the classes")
    known, labels = np.unique(cells, return_inverse=True)
    names = [str(each) for each in known.tolist()]
    if cells.dtype.kind == "U" and all(each.isascii() and each.isdecimal() for each in names):
        order = np.argsort([int(each) for each in names], kind="stable")
        names, labels = [names[place] for place in order], np.argsort(order)[labels]
    elif cells.dtype.kind in "iu":
        _check_numbers(name, column, known)
    else:
        log_alike(name, names)
    if len(names) > MOST_CLASSES:
        problem = f"`{column}` has {len(names):,} classes, and {MOST_CLASSES:,} are the most"
        raise DataError(name, problem, "name the column of the classes")
    return labels.astype(np.int64), tuple(names)


def log_alike(name: str, names: Sequence[str]) -> None:
    """Say which classes differ in capitals or blanks alone: they are seldom meant to."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for each in names:
        groups["".join(each.casefold().split())].append(each)
    alike = [", ".join(group) for group in groups.values() if len(group) > 1]
    if alike:
        listed = "; ".join(alike[:_NAMED])
        log.warning("%s: classes differ only in capitals or blanks: %s", name, listed)


def _check_numbers(name: str, column: str, known: NDArray[Any]) -> None:
    """Refuse numbers of no class, and say where they do not count from 0.

    Raises:
        DataError: a negative number, or an id.
    """
    if known[0] < 0:
        problem = f"`{column}` goes down to {known[0]}"
        raise DataError(name, problem, "number the classes from 0")
    if known[-1] >= MOST_CLASSES:
        problem = f"`{column}` goes to {known[-1]:,}, and {MOST_CLASSES:,} classes are the most"
        raise DataError(name, problem, "number the classes from 0")
    if known[0] == 0 and known[-1] == len(known) - 1:
        return
    if known[-1] - known[0] == len(known) - 1:
        text = "%s: `%s` starts at %d: its %d classes are called %d to %d"
        log.warning(text, name, column, known[0], len(known), known[0], known[-1])
        return
    listed = ", ".join(map(str, known[:_NAMED])) + (", ..." if len(known) > _NAMED else "")
    text = "%s: `%s` leaves out numbers up to %d: its %d classes are called %s"
    log.warning(text, name, column, known[-1], len(known), listed)
