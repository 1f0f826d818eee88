"""Reads tables with labels: CSV (or TSV, or JSON lines) that name images, or hold texts or numbers.

    labels.csv + images/, metadata.csv + train/     file names and labels, as Kaggle and the hub do
    train.csv, test.csv                             labels, and texts or numbers, a sample a row

Which column is which their names tell, or `--label-column` and the like. Numbers whose columns are
called after pixels, and that are a square of bytes, are images, and so is a cell that lists one's
pixels; texts become ids as AG News does.

Shape suffixes: N samples, F numbers.
"""

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import columns
from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.images import FLOAT, Size, content, decode, test_mask
from edgeloop.data.labels import numbered
from edgeloop.data.news import token_ids, vocabulary, words
from edgeloop.data.parts import part_in, part_of, rank
from edgeloop.data.room import check_room
from edgeloop.data.samples import Inputs, Pool
from edgeloop.data.table_files import Pictures, Table, find, images_beside
from edgeloop.errors import ConfigError, DataError

log = logging.getLogger(__name__)

TEXTS = (
    *("text", "title", "headline", "description", "sentence", "content", "review", "article"),
    *("body", "question", "message", "tweet", "comment"),
)
_PARTS = ("split", "subset", "part", "partition", "fold", "set", "usage")
_NO_FEATURE = ("", "id", "index", "unnamed:_0", "image_id")
_COUNTING = (*_NO_FEATURE[1:], "one_without_a_name")
_PIXEL = re.compile(r"(pixel|px|p)?_?\d+(x\d+)?", re.IGNORECASE)
_SMALLEST = 64
"""Numbers of the smallest image that a row may be."""
_BRIGHTEST = 255


def read_table(source: Path, size: Size = None, asked: Columns = BY_NAME) -> Pool:
    """Read a table, or those of a folder, into a pool; training, validation and tests in order.

    Labels are words or numbers; the classes are called so. Tables without a column of labels, and
    rows without a label, are left out and said.

    Args:
        source: a table, or a folder that has some.
        size: pixels of a side that images are resized to; None leaves them as they are.
        asked: columns that somebody has named.

    Raises:
        ConfigError: a column that was asked for and is not there, or a size without images.
        DataError: no column of labels, or of samples; a file that no row can be found for; a row
            that does not fit.
    """
    return read_rows(source, find(source, asked), size, asked)


def read_rows(source: Path, found: Sequence[Table], size: Size, asked: Columns) -> Pool:
    """Read tables whose rows are known; see `read_table`."""
    reading = _Reading(source, found, asked)
    inputs = reading.inputs(size)
    labels, names = numbered(reading.name, found[0].label, reading.labels)
    parts = reading.parts
    order = np.argsort([rank(part) for part in parts], kind="stable")
    clients = reading.clients
    tested = test_mask([parts[row] for row in order], set(parts))
    owners = None if clients is None else clients[order]
    return Pool(inputs[order], labels[order], names, owners, tested)


@dataclass(frozen=True)
class _Reading:
    """Tables, and what their columns are."""

    source: Path
    tables: Sequence[Table]
    asked: Columns

    @property
    def name(self) -> str:
        return str(self.tables[0].path)

    @property
    def names(self) -> list[str]:
        return self.tables[0].names

    @cached_property
    def client(self) -> str | None:
        asked = self.asked.client
        return columns.find(self.names, columns.CLIENTS, asked, "client_column", self.name)

    @cached_property
    def part_column(self) -> str | None:
        found = columns.find(self.names, _PARTS, None, "", self.name)
        return found if found and all(part_in(cell) for cell in self.cells(found)) else None

    def cells(self, column: str) -> list[str]:
        """Return a column of all tables; empty where one lacks it."""
        return [row.get(column, "").strip() for table in self.tables for row in table.rows]

    @property
    def labels(self) -> NDArray[Any]:
        """The labels: whole numbers where all are, else words."""
        cells = [row[table.label].strip() for table in self.tables for row in table.rows]
        if all(map(_is_whole, cells)):
            return np.array([int(float(cell)) for cell in cells])
        return np.array(cells)

    def where(self, row: int) -> str:
        """Return the table and the row there that a row of all of them is."""
        for table in self.tables:
            if row < len(table.rows):
                return f"{table.path}: row {row}"
            row -= len(table.rows)
        raise IndexError(row)

    @cached_property
    def pictures(self) -> tuple[str, list[Path]] | None:
        """The column of files, and each row's; None where the tables name none."""
        asked = self.asked.image
        column = columns.find(self.names, columns.IMAGES, asked, "image_column", self.name)
        if column is None:
            return None
        beside = Pictures(images_beside(self.source))
        if asked is None and not beside.names(self.cells(column)):
            return None
        files = []
        for table in self.tables:
            for number, row in enumerate(table.rows):
                files.append(beside.file(table, number, row.get(column, "").strip()))
        beside.log_unnamed(self.source, files)
        return column, files

    @cached_property
    def parts(self) -> list[str]:
        """Which part each row is of: a column says, or the table's name, or the image's folder."""
        if self.part_column is not None:
            return [part_in(cell) for cell in self.cells(self.part_column)]
        own = [table.part for table in self.tables for _ in table.rows]
        if any(own) or self.pictures is None:
            return own
        return [part_of(file.parent.name) for file in self.pictures[1]]

    @cached_property
    def clients(self) -> NDArray[np.int64] | None:
        if self.client is None:
            return None
        return np.unique(self.cells(self.client), return_inverse=True)[1].astype(np.int64)

    def inputs(self, size: Size) -> Inputs:
        """Return the samples (N, *shape)."""
        if self.pictures is not None:
            files = self.pictures[1]
            return decode(((str(each), content(each)) for each in files), len(files), size)
        if size is not None:
            raise ConfigError("image_size", f"is of image files, and {self.name} has none",
                              "leave it out")  # fmt: skip
        texts = [
            name for name in self.names if _plain(name) in TEXTS and name != self.tables[0].label
        ]
        if texts:
            rows = zip(*(self.cells(name) for name in texts), strict=True)
            split = [words(" ".join(row)) for row in rows]
            return token_ids(split, vocabulary(split))
        return self._numbers()

    def _numbers(self) -> Inputs:
        """Return the columns of numbers (N, F), or images of bytes (N, 1, H, W)."""
        used = {self.tables[0].label, self.client, self.part_column}
        features = [name for name in self.names if name not in used]
        features = [name for name in features if _plain(name) not in _NO_FEATURE]
        numbers = [name for name in features if _is_number(self.tables[0].rows[0][name])]
        drawn = [name for name in features if _side(self.tables[0].rows[0][name])]
        if len(drawn) == 1 and not numbers:
            return self._drawn(drawn[0])
        if not numbers:
            raise self._no_samples(features)
        self._log_unread([name for name in features if name not in numbers], "that are no numbers")
        others = [name or "one without a name" for name in self.names if name not in used]
        self._log_unread([name for name in others if _plain(name) in _COUNTING], "that count rows")
        values_NF = np.stack([self._column(name) for name in numbers], axis=1)
        return _as_images(numbers, values_NF)

    def _drawn(self, name: str) -> Inputs:
        """Return images (N, 1, H, W) from cells that have all pixels of one, as FER2013's have."""
        cells = self.cells(name)
        side = _side(cells[0])
        for row, cell in enumerate(cells):
            if _side(cell) != side or max(map(int, cell.split())) > _BRIGHTEST:
                problem = f"`{name}` is no image of {side} x {side} bytes, as row 0 is"
                raise DataError(self.where(row), problem, "repair it, or remove the row")
        check_room(self.name, f"{len(cells)} images", len(cells) * side * side * FLOAT)
        pixels = [np.array(cell.split(), np.uint8) for cell in cells]
        return np.stack(pixels).reshape(-1, 1, side, side)

    def _log_unread(self, names: Sequence[str], why: str) -> None:
        if names:
            listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            log.warning("%s: left out: columns %s (%s)", self.name, why, listed)

    def _no_samples(self, features: Sequence[str]) -> DataError:
        """Say why no column holds samples."""
        first = self.tables[0].rows[0]
        if any(_is_number(first[name].replace(",", ".", 1)) for name in features):
            problem = "has decimal commas"
            return DataError(self.name, problem, "write numbers with points, 1.5")
        problem = "has no column of images that are there, of texts or of numbers"
        remedy = f"name one with --image-column; the columns are {', '.join(self.names)[:300]}"
        return DataError(self.name, problem, remedy)

    def _column(self, name: str) -> NDArray[np.float32]:
        cells = self.cells(name)
        try:
            values = np.array(cells, np.float32)
        except ValueError:
            values = np.array([float(cell) if _is_number(cell) else np.nan for cell in cells])
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            problem = f"`{name}` is {cells[row]!r}, no number"
            raise DataError(self.where(row), problem, "fill it in, or remove the row")
        return values.astype(np.float32)


def _as_images(names: Sequence[str], values_NF: NDArray[np.float32]) -> Inputs:
    """Return a square of bytes a row as an image of one colour, anything else as it is."""
    side = math.isqrt(len(names))
    alike = side * side == len(names) >= _SMALLEST and all(map(_PIXEL.fullmatch, names))
    bytes_NF = values_NF.astype(np.uint8) if alike and _are_bytes(values_NF) else None
    return values_NF if bytes_NF is None else bytes_NF.reshape(-1, 1, side, side)


def _side(cell: str) -> int:
    """Return the side of the square image whose pixels a cell lists; 0 where it lists none."""
    pixels = cell.split()
    side = math.isqrt(len(pixels))
    square = side * side == len(pixels) >= _SMALLEST
    return side if square and all(map(str.isdecimal, pixels)) else 0


def _are_bytes(values: NDArray[np.float32]) -> bool:
    inside = values.min() >= 0 and 1 < values.max() <= 255
    return bool(inside and (values == np.floor(values)).all())


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _is_whole(cell: str) -> bool:
    return _is_number(cell) and float(cell).is_integer() and abs(float(cell)) < 2**53


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")
