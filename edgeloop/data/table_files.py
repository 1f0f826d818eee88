"""Which tables of a folder have labels, and which files the rows of a table name."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from edgeloop.data import columns, tables
from edgeloop.data.class_layout import CONTAINERS, SUFFIXES, ClassLayout, folders, image_files
from edgeloop.data.columns import Columns
from edgeloop.data.left_out import SkippedFiles, is_hidden
from edgeloop.data.parts import part_in, part_of
from edgeloop.data.tables import Row
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

KINDS = (".csv", ".tsv", ".jsonl")
_SMALLEST, _BRIGHTEST = 64, 255  # pixels of an image, and their largest value
_FEWEST = 8  # columns that count: a row of a few numbers may do so by chance
_DEEPEST = 4
"""Folders within folders in which the images of a table are looked for."""


@dataclass(frozen=True)
class Table:
    """One table: where it is, its columns, the one of the labels, and the rows that have one."""

    path: Path
    names: list[str]
    label: str
    rows: Sequence[Row]

    @property
    def part(self) -> str:
        """Which part it is of, by its name or its folder's; maybe none."""
        return part_in(self.path.stem) or part_of(self.path.parent.name)


def table_paths(source: Path) -> list[Path]:
    """Return a folder's tables, and those in its folders of parts; or the table itself."""
    if source.is_file():
        return [source] if source.suffix.lower() in KINDS else []
    if not source.is_dir():
        return []
    places = [source, *(each for each in folders(source) if part_of(each.name))]
    found = [each for place in places for each in sorted(place.iterdir())]
    return [
        each
        for each in found
        if each.suffix.lower() in KINDS and each.is_file() and not is_hidden(each)
    ]


def matches(source: Path) -> bool:
    """Return whether there are tables, and no folders of images that are classes.

    Folders that a table of the same images contradicts are none: `part_1`, `part_2`.
    """
    paths = table_paths(source)
    if not paths:
        return False
    return source.is_file() or not has_classes(source) or any(_contradicts(source, paths))


def _contradicts(source: Path, paths: Sequence[Path]) -> Iterator[bool]:
    """Yield of each table whether it names most images, and says nothing of their folders."""
    folder_of = {photo.path: photo.label for photo in ClassLayout(source).photos}
    pictures = Pictures(source)
    for path in paths:
        if path.suffix.lower() != ".jsonl":
            try:
                named = [(row, pictures.named(row)) for row in tables.rows(path)]
            except DataError:
                continue  # it is no table
            known = [(row, folder_of[file]) for row, file in named if file in folder_of]
            most = len(known) > len(folder_of) / 2
            yield most and not any(_tells(known, column) for column in known[0][0])


def _tells(known: Sequence[tuple[Row, str]], column: str) -> bool:
    """Return whether a column has one value for each folder, and each another."""
    pairs = {(row[column], folder) for row, folder in known}
    folders_there = {folder for _, folder in pairs}
    return len(pairs) == len(folders_there) == len({value for value, _ in pairs}) > 1


def has_classes(source: Path) -> bool:
    """Return whether a folder has images in folders that are called after several classes."""
    names = {each.label for each in ClassLayout(source).photos}
    called_so = [each for each in names if part_of(each) or each.lower() in CONTAINERS]
    return len(names) > 1 and not called_so


def find(source: Path, asked: Columns) -> list[Table]:
    """Return the tables that have labels: one, or one a part; say what is left out.

    Raises:
        ConfigError: a column that was asked for and is in none.
        DataError: no table with labels, or several of which none is a part's.
    """
    paths = table_paths(source)
    headings = {path: _heading(path) for path in paths}
    labels = {path: _label(names, asked) for path, names in headings.items()}
    kept = [path for path in paths if labels[path] is not None]
    if not kept:
        raise _no_labels(headings, asked)
    found = [_table(path, headings[path], str(labels[path])) for path in kept]
    others = [table.path.name for table in found if not table.part]
    if len(found) > 1 and others:
        listed = ", ".join(sorted(path.name for path in kept))
        problem = f"holds several tables with labels: {listed}"
        raise DataError(str(source), problem, f"name one of them, such as {kept[0]}")
    for path in paths:
        if path not in kept:
            log.warning("%s: left out: it has no column of labels", path)
    _log_others(source, paths)
    return found


def _label(names: Sequence[str], asked: Columns) -> str | None:
    if asked.label is not None:
        return asked.label if asked.label in names else None
    return columns.find(names, columns.LABELS, None, "label_column", "")


def _no_labels(headings: dict[Path, list[str]], asked: Columns) -> DataError:
    path, names = max(headings.items(), key=lambda each: len(each[1]))
    listed = ", ".join(name or "''" for name in names)[:300]
    if asked.label is not None:
        columns.find(names, (), asked.label, "label_column", str(path))
    problem = f"has no column of labels; the columns are {listed}"
    remedy = (
        "name it with --label-column; if each class has a column, make one column with the names"
        " of the classes"
    )
    if path.name == "metadata.csv":
        remedy += "; camera traps need `filename`, `y` and `location`"
    return DataError(str(path), problem, remedy)


def _heading(path: Path) -> list[str]:
    if path.suffix.lower() == ".jsonl":
        return list(dict.fromkeys(name for row in _json_lines(path) for name in row))
    names = [name.strip() for name in tables.heading(path)]
    if _is_drawn(names):
        what = "the first of its %d columns is read as labels, the others as pixels"
        log.warning(f"%s: has no heading: {what}", path, len(names))
        return [columns.LABELS[0], *(f"pixel{place}" for place in range(len(names) - 1))]
    if not names:
        raise DataError(str(path), "is empty", "give it a heading, and a sample a row")
    numerals = [name for name in names if _is_numeral(name)]
    if len(numerals) > len(names) / 2 and not _counts(numerals):
        problem = f"has no heading: its first row is {', '.join(names)[:60]}"
        raise DataError(str(path), problem, "write the columns' names above, one of them `label`")
    return names


def _table(path: Path, names: list[str], label: str) -> Table:
    rows = _json_lines(path) if path.suffix.lower() == ".jsonl" else _rows(path, names)
    full = [{name: row.get(name, "") for name in names} for row in rows]
    kept = [row for row in full if row[label].strip()]
    if len(kept) < len(rows):
        few = len(rows) - len(kept)
        log.warning("%s: left out: %d %s without a label", path, few, "row" if few == 1 else "rows")
    if not kept:
        raise DataError(str(path), f"no row has a `{label}`", "give it labels, or remove it")
    return Table(path, names, label, kept)


def _rows(path: Path, names: Sequence[str]) -> list[Row]:
    headless = _is_drawn(tables.heading(path))
    return tables.rows(path, names if headless else ())


def _is_drawn(row: Sequence[str]) -> bool:
    """Return whether a row is a label and the bytes of a square image, as MNIST's CSV has them."""
    side = math.isqrt(max(len(row) - 1, 0))
    whole = side * side == len(row) - 1 >= _SMALLEST and all(map(str.isdecimal, row))
    return whole and not _counts(row) and max(map(int, row)) <= _BRIGHTEST


def _json_lines(path: Path) -> list[Row]:
    rows: list[Row] = []
    try:
        for line in path.read_text("utf-8-sig").splitlines():
            cells = json.loads(line) if line.strip() else {}
            rows.append({str(key): _text(value) for key, value in cells.items()})
    except (ValueError, AttributeError) as error:
        problem = f"is no JSON object ({error})"
        raise DataError(f"{path}: row {len(rows)}", problem, "write one object a line") from error
    return [row for row in rows if row]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _counts(numerals: Sequence[str]) -> bool:
    """Return whether numerals are a heading all the same: they count columns."""
    first = numerals[0]
    if len(numerals) < _FEWEST or not first.isdecimal():
        return False
    return list(numerals) == [str(int(first) + place) for place in range(len(numerals))]


def _is_numeral(name: str) -> bool:
    return name.replace(".", "", 1).removeprefix("-").isdecimal()


def _log_others(source: Path, paths: Sequence[Path]) -> None:
    if source.is_dir():
        left = SkippedFiles()
        left.others(source, [*paths, *folders(source), *image_files(source)])
        left.log_summary(source)


def images_beside(source: Path) -> Path:
    """Return the folder in which a source's images lie."""
    return source if source.is_dir() else source.parent


class Pictures:
    """The image files that the rows of a table may name.

    Args:
        folder: in which they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._all = list(_images(folder, 0))
        self._paths = {path.relative_to(folder).as_posix(): path for path in self._all}
        self._names: dict[str, list[Path]] = {}
        for path in self._all:
            for name in (path.name, path.stem):
                self._names.setdefault(name, []).append(path)

    def names(self, cells: Sequence[str]) -> bool:
        """Return whether one of these cells names a file."""
        return any(
            cell in self._paths or self._path(cell).name in self._names for cell in cells if cell
        )

    def _path(self, cell: str) -> Path:
        """Return a cell as a path, also one with the backslashes of Windows."""
        path = Path(cell)
        if "\\" not in cell or path.as_posix() in self._paths or path.name in self._names:
            return path
        return Path(PureWindowsPath(cell).as_posix())

    def named(self, row: Row) -> Path | None:
        """Return the one file that a row names in a column of files, or None."""
        column = columns.find(list(row), columns.IMAGES, None, "", "")
        cell = row[column].strip() if column else ""
        path = self._path(cell)
        found = self._names.get(path.name, []) if cell else []
        return self._paths.get(path.as_posix()) or (found[0] if len(found) == 1 else None)

    def file(self, table: Table, number: int, cell: str) -> Path:
        """Return the file that a row names: its path from the folder or the table, or its name.

        Raises:
            DataError: none, or several of that name.
        """
        path = self._path(cell)
        whole = self._paths.get(path.as_posix())
        near = table.path.parent / path
        named = self._names.get(path.name, [])
        found = [whole] if whole else [each for each in named if each == near] or named
        if len(found) == 1 and found[0] is not None:
            return found[0]
        where = f"{table.path}: row {number}"
        if not found:
            raise DataError(where, f"there is no image {cell!r}", "put it there, or remove the row")
        problem = f"there are {len(found)} images called {cell!r}"
        raise DataError(where, problem, "write their paths from the table's folder")

    def log_unnamed(self, source: Path, files: Sequence[Path]) -> None:
        """Say how many images no row names."""
        unnamed = len(set(self._all)) - len(set(files))
        if unnamed:
            log.warning("%s: left out: %d images that no row names", source, unnamed)


def _images(folder: Path, depth: int) -> list[Path]:
    own = [
        each
        for each in sorted(folder.iterdir())
        if each.suffix.lower() in SUFFIXES and each.is_file() and not is_hidden(each)
    ]
    if depth == _DEEPEST:
        return own
    return own + [path for each in folders(folder) for path in _images(each, depth + 1)]
