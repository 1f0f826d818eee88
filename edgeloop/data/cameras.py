"""Reads pictures of camera traps as WILDS lays out iWildCam (Beery et al. 2020, Koh et al. 2021).

    metadata.csv    filename, y, location_remapped (or location); where present, split
    train/ or images/    the files
    categories.csv    y, name; may be missing

Source of the choice: PFLlib's clients are the cameras with more than 100 pictures and more than
two classes, of the splits train, val and test in this order, resized to 64 x 64; classes that
nobody has then are left out. Of iWildCam that leaves 194 cameras and 158 classes.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeloop.data import tables
from edgeloop.data.images import Size, content, decode
from edgeloop.data.parts import PARTS
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

log = logging.getLogger(__name__)

SIZE = 64
MORE_THAN = 100  # pictures of a camera
MORE_CLASSES_THAN = 2  # of a camera
_METADATA, _CATEGORIES = "metadata.csv", "categories.csv"
_CAMERAS = ("location_remapped", "location")
_FOLDERS = ("train", "images")
Row = Mapping[str, str]


def matches(source: Path) -> bool:
    """Return whether this folder has a table of its pictures, with columns as WILDS has them."""
    path = source / _METADATA
    return path.is_file() and _looks_alike(tables.heading(path))


def _looks_alike(columns: Sequence[str]) -> bool:
    """Return whether two of the three columns are there: pictures, classes, cameras."""
    has = ["filename" in columns, "y" in columns, any(each in columns for each in _CAMERAS)]
    return sum(has) > 1


def read(source: Path, size: Size = None) -> Pool:
    """Pool the pictures, uint8 (N, 3, size, size); every camera is a natural client.

    Args:
        source: the folder of `metadata.csv`.
        size: pixels of a side; None for 64.

    Raises:
        DataError: a column or a file that is missing, a value that is no number, or no camera that
            has enough pictures and classes.
    """
    rows, camera = _rows(source / _METADATA)
    kept = _of_large_cameras(source / _METADATA, rows, camera)
    known = sorted({int(row["y"]) for row in kept})
    files = [_file(source, row["filename"]) for row in kept]
    images = decode(((str(each), content(each)) for each in files), len(files), size or SIZE)
    labels = np.searchsorted(known, [int(row["y"]) for row in kept]).astype(np.int64)
    clients = np.array([int(row[camera]) for row in kept], np.int64)
    return Pool(images, labels, _class_names(source / _CATEGORIES, known), clients)


def _rows(path: Path) -> tuple[list[Row], str]:
    """Return the rows of the splits, in their order, and the name of the camera's column."""
    rows = tables.rows(path)
    columns = rows[0].keys() if rows else ()
    camera = next((name for name in _CAMERAS if name in columns), None)
    missing = [name for name in ("filename", "y") if name not in columns]
    if missing or camera is None:
        problem = f"has no column `{missing[0] if missing else _CAMERAS[0]}`"
        raise DataError(str(path), problem, "use the column names of WILDS; see docs/data.md")
    for number, row in enumerate(rows):
        if not (row["y"].isdecimal() and row[camera].isdecimal()):
            problem = f"`y` is {row['y']!r} and `{camera}` {row[camera]!r}, not two whole numbers"
            raise DataError(f"{path}: row {number}", problem, "number classes and cameras")
    if "split" not in columns:
        return rows, camera
    others = Counter(row["split"] for row in rows if row["split"] not in PARTS)
    if others:
        counted = ", ".join(f"{count} of {name!r}" for name, count in sorted(others.items()))
        log.warning("%s: left out: rows of other splits, %s", path.parent, counted)
    return [row for part in PARTS for row in rows if row["split"] == part], camera


def _of_large_cameras(path: Path, rows: Sequence[Row], camera: str) -> list[Row]:
    classes = defaultdict(list)
    for row in rows:
        classes[row[camera]].append(row["y"])
    large = {
        name
        for name, seen in classes.items()
        if len(seen) > MORE_THAN and len(set(seen)) > MORE_CLASSES_THAN
    }
    if not large:
        problem = f"no camera has more than {MORE_THAN} pictures of more than {MORE_CLASSES_THAN}"
        raise DataError(str(path), f"{problem} classes", "give it more pictures")
    if len(large) < len(classes):
        few = len(classes) - len(large)
        text = "%s: left out: %d cameras of %d that have too few pictures"
        log.warning(text, path.parent, few, len(classes))
    return [row for row in rows if row[camera] in large]


def _file(source: Path, name: str) -> Path:
    for folder in _FOLDERS:
        path = source / folder / name
        if path.is_file() and path.resolve().is_relative_to((source / folder).resolve()):
            return path
    remedy = f"put it into {source / _FOLDERS[0]} or {source / _FOLDERS[1]}"
    raise DataError(f"{source / _METADATA}: {name}", "no such file", remedy)


def _class_names(path: Path, known: Sequence[int]) -> tuple[str, ...]:
    rows = tables.rows(path) if path.is_file() else []
    named = {row.get("y"): row.get("name") for row in rows}
    return tuple(named.get(str(each)) or str(each) for each in known)
