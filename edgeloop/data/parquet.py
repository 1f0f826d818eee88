"""Reads image sets in parquet files, as the Hugging Face hub stores them, into a pool."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import columns, parquet_files, parquet_tables
from edgeloop.data.columns import BY_NAME, Columns
from edgeloop.data.dirichlet import Indices
from edgeloop.data.images import Size, decode, optional, test_mask
from edgeloop.data.labels import numbered
from edgeloop.data.parts import part_in, rank
from edgeloop.data.samples import Labels, Pool
from edgeloop.data.table_files import Table
from edgeloop.data.table_reading import read_rows
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

_BATCH = 512  # rows; bounds how many undecoded images are held
_POINTER = b"version https://git-lfs"
_NONE = -1  # what the hub writes where a label is not published


@dataclass(frozen=True)
class _File:
    """One file: where it is, and what pyarrow makes of it."""

    path: Path
    opened: Any
    asked: Columns

    @property
    def rows(self) -> int:
        return int(self.opened.metadata.num_rows)

    @property
    def names(self) -> list[str]:
        return list(self.opened.schema_arrow.names)

    @cached_property
    def features(self) -> dict[str, Any]:
        """What the Hugging Face metadata say of each column."""
        metadata = (self.opened.schema_arrow.metadata or {}).get(b"huggingface")
        return {} if metadata is None else dict(json.loads(metadata)["info"]["features"])

    def column(self, known: Sequence[str], asked: str | None, kind: str = "") -> str | None:
        """Return a column's name: as asked for, as it is called, or as the metadata have it."""
        option = f"{known[0]}_column"
        found = columns.find(self.names, known[:2], asked, option, str(self.path))
        declared = [name for name in self.names if kind and _type(self.features.get(name)) == kind]
        if found is None and len(declared) == 1:
            return declared[0]
        return found or columns.find(self.names, known, None, option, str(self.path))

    def required(self, known: Sequence[str], asked: str | None, kind: str, option: str) -> str:
        found = self.column(known, asked, kind)
        if found is None:
            remedy = f"name it with {option}; the columns are {', '.join(self.names)}"
            raise DataError(str(self.path), f"has no column `{known[0]}`", remedy)
        return found

    @property
    def label(self) -> str:
        return self.required(columns.LABELS, self.asked.label, "ClassLabel", "--label-column")

    @property
    def has_images(self) -> bool:
        """Whether a column may hold images: by its name or its type; else they are a table."""
        if self.column(columns.IMAGES[:3], None, "Image") is not None:
            return True
        shown = any(
            str(kind).startswith(("struct", "binary", "large_binary")) for kind in self.types
        )
        return shown

    @property
    def types(self) -> list[Any]:
        return list(self.opened.schema_arrow.types)

    @property
    def image(self) -> str:
        return self.required(columns.IMAGES, self.asked.image, "Image", "--image-column")


def read_parquet(
    source: Path,
    size: Size = None,
    wanted: Callable[[int], Indices] | None = None,
    asked: Columns = BY_NAME,
) -> Pool:
    """Read one parquet file, or all of a folder: `train*`, then `val*`, `test*` and others.

    Without a column of images it is a table of texts or numbers: see `read_table`.

    Columns: `image` (or `img`, or what the metadata call one), {bytes, path} or bytes; `label` (or
    `fine_label`, `labels`, ...), words or whole numbers; where present, `client`, `subject`,
    `writer_id` and the like name natural clients, and `split` orders the rows like the files.
    Class names come from the Hugging Face metadata or a `classes.json` list beside the files, else
    the labels are the names. A part that has no labels, as the hub publishes some for tests (-1,
    or null), is left out.

    Args:
        source: the file or folder; of a folder without such files, those within it are read.
        size: pixels of a side that images are resized to; None leaves them as they are.
        wanted: given how many there are, tells which samples anybody will look at; the images of
            the others are not decoded, which takes the longest, and are black. None means all.
        asked: columns that somebody has named.

    Raises:
        ConfigError: a column that was asked for and is not there.
        DataError: a column that is missing or of another type, a label that is missing or out of
            range, or an image that cannot be decoded or differs in size.
    """
    arrow = optional("pyarrow.parquet", "pyarrow")
    found = [_open(arrow, path, asked) for path in parquet_files.files(source)]
    files = [file for file in found if file.rows]
    rows = sum(file.rows for file in files)
    if not rows:
        raise DataError(str(source), "holds no rows", "give it at least one image")
    parquet_files.left_out(source, [file.path for file in found]).log_summary(source)
    if not any(file.has_images for file in files) and asked.image is None:
        return read_rows(source, list(map(_table, files)), size, asked)
    parts = _parts(files)
    cells = np.concatenate([_label_cells(file) for file in files])
    order = _order(source, files, parts, cells)
    labels, names = _labels(source, files, cells, order)
    clients, unclear = _clients(files)
    looked_at = None if wanted is None else _mask(wanted(len(order)), order, rows)
    images_NCHW = decode(_images(files), rows, size, looked_at)
    if len(order) < rows or (np.diff(order) < 0).any():
        images_NCHW = images_NCHW[order]
    clients = None if clients is None else clients[order]
    kept = [parts[row] for row in order]
    return Pool(images_NCHW, labels, names, clients, test_mask(kept, set(kept)), unclear)


def _table(file: _File) -> Table:
    """Return a file of texts or numbers as a table."""
    cells = {name: list(_cells(file, name)) for name in file.names}
    return parquet_tables.table(file.path, cells, file.label, _class_names_in(file) or ())


def _open(arrow: Any, path: Path, asked: Columns) -> _File:
    try:
        return _File(path, arrow.ParquetFile(path), asked)
    except (OSError, ValueError) as error:
        with path.open("rb") as file:
            pointer = file.read(len(_POINTER)) == _POINTER
        if pointer:
            problem = "is a pointer of Git LFS, and not the file"
            raise DataError(str(path), problem, "fetch it: git lfs pull") from error
        raise DataError(str(path), f"no parquet file ({error})", "download it again") from error


def _parts(files: Sequence[_File]) -> list[str]:
    """Return which part each row is of, as a column `split` or the files' names say."""
    if all("split" in file.names for file in files):
        return [part_in(str(cell)) for file in files for cell in _cells(file, "split")]
    return [parquet_files.part(file.path) for file in files for _ in range(file.rows)]


def _label_cells(file: _File) -> NDArray[Any]:
    """Return a file's labels as objects; one that is missing is -1."""
    cells = np.empty(file.rows, object)
    for row, cell in enumerate(_cells(file, file.label)):
        if isinstance(cell, list):
            if len(cell) != 1:
                problem = f"`{file.label}` has {len(cell)} labels"
                remedy = "choose a column with one label a row: --label-column"
                raise DataError(f"{file.path}: row {row}", problem, remedy)
            cell = cell[0]
        cells[row] = _NONE if cell is None else cell
    return cells


def _order(
    source: Path, files: Sequence[_File], parts: Sequence[str], cells: NDArray[Any]
) -> Indices:
    """Return the rows that have labels, by part, in the files' order; all of a part or none.

    Raises:
        DataError: a row without a label in a part where others have one.
    """
    unlabelled = np.array([cell == _NONE for cell in cells], np.bool_)
    ranks = np.array([rank(part) for part in parts])
    for each in np.unique(ranks[unlabelled]):
        of_part = ranks == each
        if not unlabelled[of_part].all() or unlabelled.all():
            first = int(np.flatnonzero(unlabelled & of_part)[0])
            problem = f"`{files[0].label}` holds something else than a class: null or -1"
            raise DataError(_where(files, first), problem, "fill it in, or remove the row")
        name = next(part for part, here in zip(parts, of_part, strict=True) if here) or "others"
        log.warning("%s: left out: %d rows without labels (%s)", source, of_part.sum(), name)
    order = np.argsort(ranks, kind="stable")
    return np.asarray(order[~unlabelled[order]], np.int64)


def _where(files: Sequence[_File], row: int) -> str:
    """Return the file and the row there that a row of all of them is."""
    for file in files:
        if row < file.rows:
            return f"{file.path}: row {row}"
        row -= file.rows
    raise IndexError(row)


def _labels(
    source: Path, files: Sequence[_File], cells: NDArray[Any], order: Indices
) -> tuple[Labels, tuple[str, ...]]:
    """Return the labels of the rows in their order (N,), and the classes' names."""
    names, column = _class_names(source, files), files[0].label
    kept = np.array(cells[order].tolist())
    if not names:
        return numbered(str(source), column, kept)
    if kept.dtype.kind == "U":
        numbers = {name: number for number, name in enumerate(names)}
        kept = np.array([numbers.get(str(cell), len(names)) for cell in kept])
    if kept.dtype.kind not in "iu":
        problem = f"`{column}` holds something else than words or whole numbers"
        raise DataError(str(source), problem, "name or number the classes")
    wrong = np.flatnonzero((kept < 0) | (kept >= len(names)))
    if len(wrong):
        row = int(order[wrong[0]])
        problem = f"label {cells[row]}, out of range for {len(names)} classes"
        raise DataError(_where(files, row), problem, f"use {', '.join(names)[:200]}, or 0 to "
                        f"{len(names) - 1}")  # fmt: skip
    return kept.astype(np.int64), names


def _clients(files: Sequence[_File]) -> tuple[NDArray[np.int64] | None, DataError | None]:
    """Return whose each row is, (N,), where all files say; or why that is unclear."""
    found = [file.column(columns.CLIENTS, file.asked.client) for file in files]
    cells: list[Any] = []
    for file, column in zip(files, found, strict=True):
        if column is None:
            return None, None
        cells += _cells(file, column)
    if None in cells:
        where = _where(files, cells.index(None))
        return None, DataError(where, f"`{found[0]}` names nobody: null", "fill it in")
    return np.unique(np.array(cells), return_inverse=True)[1].astype(np.int64), None


def _images(files: Sequence[_File]) -> Iterator[tuple[str, bytes]]:
    """Yield every image's name and bytes, in order."""
    for file in files:
        column = file.image
        for row, cell in enumerate(_cells(file, column)):
            content = cell.get("bytes") if isinstance(cell, dict) else cell
            if not isinstance(content, bytes):
                remedy = (
                    "store the image's own bytes, not a path; give arrays in Python: docs/python.md"
                )
                raise DataError(f"{file.path}: row {row}", f"`{column}` holds no bytes", remedy)
            yield f"{file.path}: row {row}", content


def _cells(file: _File, column: str) -> Iterator[Any]:
    """Yield a column's cells, a batch in memory at a time."""
    try:
        for batch in file.opened.iter_batches(batch_size=_BATCH, columns=[column]):
            yield from batch.column(0).to_pylist()
    except (OSError, ValueError) as error:  # what pyarrow raises for a damaged page
        reason = str(error).partition("\n")[0]
        raise DataError(str(file.path), f"is damaged ({reason})", "download it again") from error


def _mask(kept: Indices, order: Indices, rows: int) -> NDArray[np.bool_]:
    """Return which rows of the files are samples that are kept."""
    mask = np.zeros(rows, np.bool_)
    mask[order[kept]] = True
    return mask


def _class_names(source: Path, files: Sequence[_File]) -> tuple[str, ...]:
    """Return the names that the source gives its classes, or none."""
    listed = (source if source.is_dir() else source.parent) / "classes.json"
    try:
        declared = [_class_names_in(file) for file in files]
        if all(names is None for names in declared):
            return tuple(json.loads(listed.read_text("utf-8"))) if listed.is_file() else ()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"its class names cannot be read ({type(error).__name__}: {error})"
        remedy = "list the names in classes.json, or drop the metadata"
        raise DataError(str(source), problem, remedy) from error
    for file, names in zip(files, declared, strict=True):
        if names != declared[0]:
            problem = f"names its classes {names}, and {files[0].path.name} {declared[0]}"
            raise DataError(str(file.path), problem, "write all files with the same names")
    return declared[0] or ()


def _class_names_in(file: _File) -> tuple[str, ...] | None:
    """Return the class names that a file's own metadata tell; None where it has none."""
    if not file.features:
        return None
    return tuple(str(name) for name in file.features[file.label].get("names", ()))


def _type(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""
