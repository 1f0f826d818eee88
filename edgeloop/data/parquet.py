"""Reads image sets in parquet files, as the Hugging Face hub stores them, into a pool."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.dirichlet import Indices
from edgeloop.data.images import PARTS, Size, decode, optional, test_mask
from edgeloop.data.left_out import SkippedFiles
from edgeloop.data.samples import MOST_CLASSES, Pool
from edgeloop.errors import DataError

IMAGES = ("image", "img")
LABELS = ("label", "fine_label")
CLIENTS = ("client", "subject")
_BATCH = 512  # rows; bounds how many undecoded images are held


def read_parquet(
    source: Path, size: Size = None, wanted: Callable[[int], Indices] | None = None
) -> Pool:
    """Read one parquet file, or all of a folder: `train*`, then `val*`, `test*` and others.

    Columns: `image` (or `img`), {bytes, path} or bytes; `label` (or `fine_label`), whole numbers;
    where present, `client` (or `subject`) names natural clients and `split` orders the rows like
    the files. Class names come from the Hugging Face metadata or a `classes.json` list beside the
    files, else they are the numbers up to the largest label.

    Args:
        source: the file or folder.
        size: pixels of a side that images are resized to; None leaves them as they are.
        wanted: given how many there are, tells which samples anybody will look at; the images of
            the others are not decoded, which takes the longest, and are black. None means all.

    Raises:
        DataError: a column that is missing or of another type, a label that is missing or out of
            range, or an image that cannot be decoded or differs in size.
    """
    arrow = optional("pyarrow.parquet", "pyarrow")
    files = [_open(arrow, path) for path in _files(source)]
    files = [(path, file) for path, file in files if file.metadata.num_rows]
    rows = sum(file.metadata.num_rows for _, file in files)
    if not rows:
        raise DataError(str(source), "holds no rows", "give it at least one image")
    _left_out(source).log_summary(source)
    labels = _whole(source, "label", _join(files, LABELS))
    owners = _join(files, CLIENTS, optional_column=True)
    splits = _join(files, ("split",), optional_column=True)
    order = _order(splits)
    set_aside = _tested(files, splits)
    looked_at = None if wanted is None else _mask(wanted(rows), order, rows)
    names = _class_names(source, files) or _numbered(source, int(labels.max()) + 1)
    images_NCHW = decode(_images(files), rows, size, looked_at)
    clients = None if owners is None else np.unique(owners, return_inverse=True)[1].astype(np.int64)
    if order is None:
        return Pool(images_NCHW, labels, names, clients, set_aside)
    clients = None if clients is None else clients[order]
    set_aside = None if set_aside is None else set_aside[order]
    return Pool(images_NCHW[order], labels[order], names, clients, set_aside)


Files = Sequence[tuple[Path, Any]]


def _numbered(source: Path, classes: int) -> tuple[str, ...]:
    """Return the names of classes that have none."""
    if classes > MOST_CLASSES:
        problem = f"`label` goes to {classes - 1:,}, and {MOST_CLASSES:,} classes are the most"
        raise DataError(str(source), problem, "number the classes from 0")
    return tuple(map(str, range(classes)))


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(source.glob("*.parquet"), key=lambda path: (_rank(path.name), path.name))


def _left_out(source: Path) -> SkippedFiles:
    left = SkippedFiles()
    if source.is_dir():
        left.others(source, [*_files(source), source / "classes.json"], "beside the files")
    return left


def _tested(files: Files, splits: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Return which rows are for tests, as a column or the files' names say."""
    if splits is None:
        rows = [(path.name, file.metadata.num_rows) for path, file in files]
        splits = np.repeat([name for name, _ in rows], [count for _, count in rows])
    parts = [(*PARTS, "")[_rank(str(name))] for name in splits]
    return test_mask(parts, set(parts))


def _rank(name: str) -> int:
    """Return the place of a part's name: train 0, val 1, test 2, any other 3."""
    return next((rank for rank, part in enumerate(PARTS) if name.startswith(part)), len(PARTS))


def _open(arrow: Any, path: Path) -> tuple[Path, Any]:
    try:
        return path, arrow.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(str(path), f"no parquet file ({error})", "download it again") from error


def _column(path: Path, file: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in file.schema_arrow.names), None)


def _required(path: Path, file: Any, names: tuple[str, ...]) -> str:
    found = _column(path, file, names)
    if found is None:
        remedy = f"name a column `{'` or `'.join(names)}`; it has {file.schema_arrow.names}"
        raise DataError(str(path), f"has no column `{names[0]}`", remedy)
    return found


def _images(files: Files) -> Iterator[tuple[str, bytes]]:
    """Yield every image's name and bytes, in order."""
    for path, file in files:
        column = _required(path, file, IMAGES)
        for row, cell in enumerate(_cells(path, file, column)):
            content = cell.get("bytes") if isinstance(cell, dict) else cell
            if not isinstance(content, bytes):
                remedy = "store the image's own bytes, not a path or an array"
                raise DataError(f"{path}: row {row}", f"`{column}` holds no bytes", remedy)
            yield f"{path}: row {row}", content


def _cells(path: Path, file: Any, column: str) -> Iterator[Any]:
    """Yield a column's cells, a batch in memory at a time."""
    try:
        for batch in file.iter_batches(batch_size=_BATCH, columns=[column]):
            yield from batch.column(0).to_pylist()
    except (OSError, ValueError) as error:  # what pyarrow raises for a damaged page
        reason = str(error).partition("\n")[0]
        raise DataError(str(path), f"is damaged ({reason})", "download it again") from error


def _join(
    files: Files, names: tuple[str, ...], optional_column: bool = False
) -> NDArray[Any] | None:
    """Read one column of all files; None where it is optional and a file has it not."""
    found = [_column(path, file, names) for path, file in files]
    if optional_column and None in found:
        return None
    columns = [_required(path, file, names) for path, file in files]
    cells = [
        _known(path, column, list(_cells(path, file, column)))
        for (path, file), column in zip(files, columns, strict=True)
    ]
    return np.concatenate(cells)


def _known(path: Path, column: str, cells: list[Any]) -> NDArray[Any]:
    """Return cells as an array; one that is missing is an error that names its row."""
    if None in cells:
        where = f"{path}: row {cells.index(None)}"
        raise DataError(where, f"`{column}` holds something else than a value: null", "fill it in")
    return np.asarray(cells)


def _whole(source: Path, column: str, cells: NDArray[Any] | None) -> NDArray[np.int64]:
    if cells is None or cells.dtype.kind not in "iu":
        problem = f"`{column}` holds something else than whole numbers"
        raise DataError(str(source), problem, "number the classes from 0")
    return cells.astype(np.int64)


def _order(splits: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """Return the rows by part, stable, where a column `split` names their parts."""
    if splits is None:
        return None
    return np.argsort(np.array([_rank(str(name)) for name in splits]), kind="stable")


def _mask(kept: Indices, order: NDArray[np.int64] | None, rows: int) -> NDArray[np.bool_]:
    """Return which rows of the files are samples that are kept."""
    mask = np.zeros(rows, np.bool_)
    mask[kept if order is None else order[kept]] = True
    return mask


def _class_names(source: Path, files: Files) -> tuple[str, ...]:
    """Return the names that the source gives its classes, or none."""
    listed = (source if source.is_dir() else source.parent) / "classes.json"
    try:
        told = [_class_names_in(path, file) for path, file in files]
        if all(names is None for names in told):
            return tuple(json.loads(listed.read_text("utf-8"))) if listed.is_file() else ()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"its class names cannot be read ({type(error).__name__}: {error})"
        remedy = "list the names in classes.json, or drop the metadata"
        raise DataError(str(source), problem, remedy) from error
    for (path, _), names in zip(files, told, strict=True):
        if names != told[0]:
            problem = f"names its classes {names}, and {files[0][0].name} {told[0]}"
            raise DataError(str(path), problem, "write all files with the same names")
    return told[0] or ()


def _class_names_in(path: Path, file: Any) -> tuple[str, ...] | None:
    """Return the class names that a file's own metadata tell; None where it has none."""
    metadata = (file.schema_arrow.metadata or {}).get(b"huggingface")
    if metadata is None:
        return None
    features = json.loads(metadata)["info"]["features"]
    return tuple(str(name) for name in features[_required(path, file, LABELS)].get("names", ()))
