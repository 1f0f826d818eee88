"""Reads AG News (Zhang, Zhao and LeCun 2015) as 200 token ids a text.

    train.csv, test.csv    class (1 to 4), title, description; maybe a heading

Source of the widths: PFLlib, a vocabulary of 32,000 and 200 tokens. Words are separated as
torchtext's `basic_english` does: small letters, marks as words of their own, no quotation marks.
The vocabulary is made of all texts: 0 is padding, 1 any word that has no number, and the others
follow by how often they occur, then by the alphabet.

Shape suffixes: N texts, T tokens.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import tables
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

VOCABULARY = 32_000
TOKENS = 200
CLASS_NAMES = ("World", "Sports", "Business", "Sci/Tech")
_CLASSES = tuple(str(label) for label in range(1, len(CLASS_NAMES) + 1))
_UNKNOWN, _FIRST = 1, 2
_FILES = ("train.csv", "test.csv")
_BLANK = re.compile(r"<br />|[;:]")
_MARK = re.compile(r"(['.,()!?])")


def matches(source: Path) -> bool:
    """Return whether both files are there, and the first begins with a class and a text."""
    if not all((source / name).is_file() for name in _FILES):
        return False
    return any(map(_fits, islice(tables.cells(source / _FILES[0]), 2)))


def read(source: Path) -> Pool:
    """Pool training then test texts as float32 token ids (N, 200); labels from 0.

    Raises:
        DataError: a row that is no class from 1 to 4 and two texts.
    """
    rows = [row for name in _FILES for row in _rows(source / name)]
    labels = np.array([label for label, _ in rows], np.int64)
    texts = [words(text) for _, text in rows]
    return Pool(token_ids(texts, vocabulary(texts)), labels, CLASS_NAMES)


def words(text: str) -> list[str]:
    """Return a text's words."""
    plain = _BLANK.sub(" ", text.lower().replace('"', ""))
    return _MARK.sub(r" \1 ", plain).split()


def vocabulary(texts: Sequence[Sequence[str]], size: int = VOCABULARY) -> dict[str, int]:
    """Return the ids of the words that occur most often, `size` ids in all."""
    counts = Counter(chain.from_iterable(texts))
    common = sorted(counts, key=lambda word: (-counts[word], word))[: size - _FIRST]
    return {word: number for number, word in enumerate(common, _FIRST)}


def token_ids(texts: Sequence[Sequence[str]], known: dict[str, int]) -> NDArray[np.float32]:
    """Return the ids (N, 200) of each text's first words, padded with zeros."""
    ids_NT = np.zeros((len(texts), TOKENS), np.float32)
    for row, text in zip(ids_NT, texts, strict=True):
        ids = [known.get(word, _UNKNOWN) for word in text[:TOKENS]]
        row[: len(ids)] = ids
    return ids_NT


def _fits(row: Sequence[str]) -> bool:
    """Return whether a row is a class from 1 to 4 and a text, which is no number."""
    known = len(row) > 1 and row[0] in _CLASSES
    return known and not row[1].replace(".", "", 1).isdecimal()


def _rows(path: Path) -> list[tuple[int, str]]:
    """Return every row's class and text; a heading is none."""
    found = list(enumerate(tables.cells(path)))
    if found and not _fits(found[0][1]) and not found[0][1][0].isdecimal():
        found = found[1:]
    return [_row(path, number, row) for number, row in found]


def _row(path: Path, number: int, row: list[str]) -> tuple[int, str]:
    if len(row) < 2 or row[0] not in _CLASSES:
        problem = "is no class from 1 to 4 and a text"
        raise DataError(f"{path}: row {number}", problem, "download it again")
    return int(row[0]) - 1, " ".join(row[1:])
