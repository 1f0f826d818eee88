"""Reads tables of text: CSV with a heading, whatever mark divides its columns."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgeloop.errors import DataError

Row = Mapping[str, str]
_MARKS = ",;\t|"
_LONGEST = 2**24  # characters of one cell


def heading(path: Path) -> list[str]:
    """Return a table's first row; empty where it is none.

    Raises:
        DataError: no text in UTF-8.
    """
    return next(cells(path), [])


def cells(path: Path) -> Iterator[list[str]]:
    """Yield a table's rows, the heading too; empty ones are left out.

    Raises:
        DataError: no text in UTF-8, or a cell without an end.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            csv.field_size_limit(_LONGEST)
            first = file.readline()
            file.seek(0)
            mark = max(_MARKS, key=first.count)
            yield from (row for row in csv.reader(file, delimiter=mark) if row)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(str(path), f"no table ({error})", "write it as CSV in UTF-8") from error


def rows(path: Path, names: Sequence[str] = ()) -> list[Row]:
    """Return a table's rows by the columns' names; what a row lacks is empty.

    Args:
        path: the table.
        names: of the columns, where it has no heading; else its first row has them.

    Raises:
        DataError: see `cells`.
    """
    content = cells(path)
    names = names or [name.strip() for name in next(content, [])]
    return [dict(zip(names, [*row, *[""] * len(names)], strict=False)) for row in content]
