"""Which tables of a folder have labels, and which files the rows of a table name."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop.data import columns, tables
from edgeloop.data.class_layout import CONTAINERS, SUFFIXES, ClassLayout, folders, image_files
from edgeloop.data.columns import Columns
from edgeloop.data.left_out import SkippedFiles, is_hidden
from edgeloop.data.parts import part_in, part_of
from edgeloop.data.tables import Row
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

KINDS = (".csv", ".tsv", ".jsonl")
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
    """Return whether there are tables, and no folders of images that are classes."""
    if not table_paths(source):
        return False
    return source.is_file() or not has_classes(source)


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
    path, names = next(iter(headings.items()))
    listed = ", ".join(name or "''" for name in names)[:300]
    if asked.label is not None:
        columns.find(names, (), asked.label, "label_column", str(path))
    problem = f"has no column of labels; the columns are {listed}"
    remedy = "name it with --label-column; camera traps need `filename`, `y` and `location`"
    return DataError(str(path), problem, remedy)


def _heading(path: Path) -> list[str]:
    if path.suffix.lower() == ".jsonl":
        return list(dict.fromkeys(name for row in _json_lines(path) for name in row))
    names = [name.strip() for name in tables.heading(path)]
    if names and all(_is_numeral(name) for name in names):
        problem = f"has no heading: its first row is {', '.join(names)[:60]}"
        raise DataError(str(path), problem, "write the columns' names above, one of them `label`")
    return names


def _table(path: Path, names: list[str], label: str) -> Table:
    rows = _json_lines(path) if path.suffix.lower() == ".jsonl" else tables.rows(path)
    full = [{name: row.get(name, "") for name in names} for row in rows]
    kept = [row for row in full if row[label].strip()]
    if len(kept) < len(rows):
        log.warning("%s: left out: %d rows without a label", path, len(rows) - len(kept))
    if not kept:
        raise DataError(str(path), f"no row has a `{label}`", "give it labels, or remove it")
    return Table(path, names, label, kept)


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
        return any(cell in self._paths or Path(cell).name in self._names for cell in cells if cell)

    def file(self, table: Table, number: int, cell: str) -> Path:
        """Return the file that a row names: its path from the folder or the table, or its name.

        Raises:
            DataError: none, or several of that name.
        """
        whole = self._paths.get(Path(cell).as_posix())
        near = table.path.parent / cell
        named = self._names.get(Path(cell).name, [])
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
