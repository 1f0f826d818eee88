"""Reads tables: a heading that begins with `label`, then a sample a row."""

import csv
from pathlib import Path

import numpy as np

from edgeloop.data import Pool, Source
from edgeloop.errors import DataError


def matches(path: Path) -> bool:
    """Return whether the first word of the file is `label`."""
    if path.suffix != ".csv":
        return False
    with path.open(newline="", encoding="utf-8") as file:
        return file.readline().startswith("label,")


def read(path: Path) -> Pool:
    """Return the samples (N, columns), with the labels in order as classes.

    Raises:
        DataError: a row with something else than numbers, or too few or many.
    """
    with path.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    names = tuple(sorted({row[0] for row in rows}))
    try:
        inputs = np.array([row[1:] for row in rows], np.float32)
    except ValueError as error:
        raise DataError(str(path), f"no table of numbers ({error})", "fix the file") from error
    return Pool(inputs, np.array([names.index(row[0]) for row in rows], np.int64), names)


SOURCE = Source("labelled CSV", matches, read)
