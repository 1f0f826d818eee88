"""Parquet files of texts or numbers, as tables of cells."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop.data.table_files import Table
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

_NONE = -1  # what the hub writes where a label is not published


def table(
    path: Path, columns: Mapping[str, Sequence[Any]], label: str, names: Sequence[str]
) -> Table:
    """Return a file's rows that have a label, as text.

    Args:
        path: the file.
        columns: its cells by their column, all of one length.
        label: the column of the labels.
        names: of the classes that the labels number; none where they are words, or name themselves.

    Raises:
        DataError: no row has a label.
    """
    cells = {name: list(map(_text, column)) for name, column in columns.items()}
    cells[label] = [_text(_named(cell, names)) for cell in columns[label]]
    rows = [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]
    kept = [row for row in rows if row[label].strip()]
    if not kept:
        raise DataError(str(path), f"no row has a `{label}`", "give it labels, or remove it")
    if len(kept) < len(rows):
        few = len(rows) - len(kept)
        log.warning("%s: left out: %d %s without a label", path, few, "row" if few == 1 else "rows")
    return Table(path, list(columns), label, kept)


def _named(cell: Any, names: Sequence[str]) -> Any:
    """Return the name of a class that the hub numbers; -1 is none."""
    if cell == _NONE:
        return None
    known = isinstance(cell, int) and 0 <= cell < len(names)
    return names[cell] if known else cell


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return str(int(cell)) if isinstance(cell, bool) else str(cell)
