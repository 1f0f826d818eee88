"""Reads data sets as LEAF writes them, FEMNIST above all (Caldas et al. 2018, arXiv:1812.01097).

    train/*.json, test/*.json    each {"users": [...], "num_samples": [...],
                                 "user_data": {USER: {"x": [...], "y": [...]}}}
    one such file alone, or a folder of them, is undivided: LEAF's `all_data`

`x` has a list of numbers for each sample, `y` a whole number or a word. Users are natural clients,
over all files. 784 numbers are an image of 28 x 28, as LEAF's own model takes FEMNIST; where they
are bytes divided by 255, as FEMNIST's, they become bytes again. LEAF's texts (Shakespeare, Sent140,
Reddit) and names of files (CelebA) are refused.

Shape suffixes: N samples.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.images import test_mask
from edgeloop.data.labels import numbered
from edgeloop.data.left_out import SkippedFiles, is_hidden
from edgeloop.data.looks import log_looks
from edgeloop.data.parts import part_of, rank
from edgeloop.data.room import check_room
from edgeloop.data.samples import Inputs, Pool
from edgeloop.data.source import Source
from edgeloop.errors import DataError

_BEGIN = re.compile(rb'\s*\{\s*"(users|num_samples|user_data)"\s*:')
_LOOK = 4096  # bytes of a file that tell
_TIMES = 12  # what a file's numbers take as Python's, times its bytes
_SIDE = 28
_ROUNDED = 1e-3  # of a byte: what writing and reading a number changes
_REMEDY = "make it again with LEAF's scripts"


class _Part(NamedTuple):
    """One user's samples of one file."""

    user: str
    part: str
    inputs: NDArray[np.float32]
    labels: NDArray[Any]


def matches(source: Path) -> bool:
    """Return whether this is such a file, or a folder that has some."""
    return bool(_files(source))


def read(source: Path) -> Pool:
    """Pool training then test samples, in the order of files and of their users.

    Returns:
        inputs (N, 1, 28, 28), uint8 or float32, or float32 (N, D); natural clients,
        numbered by their users' names.

    Raises:
        DataError: a file that is malformed, or whose samples are no numbers of one length.
    """
    files = _files(source)
    _log_left_out(source, files)
    parts = [each for path, part in files for each in _users(path, part)]
    if not sum(len(each.labels) for each in parts):
        raise DataError(str(source), "no user has a sample", _REMEDY)
    full = [each for each in parts if len(each.labels)]
    _check_widths(source, full)
    pooled = np.concatenate([each.inputs for each in full])
    inputs = _images(pooled) if pooled.shape[1] == _SIDE**2 else pooled
    log_looks(str(source), inputs)
    labels, names = numbered(str(source), "y", np.concatenate([each.labels for each in full]))
    counts = [len(each.labels) for each in full]
    users = {user: number for number, user in enumerate(sorted({each.user for each in full}))}
    clients = np.repeat(np.array([users[each.user] for each in full], np.int64), counts)
    known = [each.part for each in full for _ in each.labels]
    return Pool(inputs, labels, names, clients, test_mask(known, set(known)))


def _images(pooled: NDArray[np.float32]) -> Inputs:
    """Return images (N, 1, 28, 28): bytes again where they are bytes divided by 255."""
    images = pooled.reshape(-1, 1, _SIDE, _SIDE)
    scaled = 255 * images
    near = np.rint(scaled)
    if images.min() < 0 or images.max() > 1 or np.abs(scaled - near).max() > _ROUNDED:
        return images
    return near.astype(np.uint8)


def _files(source: Path) -> list[tuple[Path, str]]:
    """Return the files and their parts: training before tests; where there are none, without."""
    if source.is_file():
        return [(source, "")] if _is_one(source) else []
    within = sorted(each for each in source.iterdir() if each.is_dir() and part_of(each.name))
    folders = sorted(within, key=lambda each: rank(part_of(each.name)))
    found = [(file, part_of(folder.name)) for folder in folders for file in _within(folder)]
    return found or [(file, "") for file in _within(source)]


def _within(folder: Path) -> list[Path]:
    return [each for each in sorted(folder.glob("*.json")) if _is_one(each)]


def _is_one(path: Path) -> bool:
    if path.suffix.lower() != ".json" or is_hidden(path) or not path.is_file():
        return False
    with path.open("rb") as file:
        return _BEGIN.match(file.read(_LOOK)) is not None


def _log_left_out(source: Path, files: list[tuple[Path, str]]) -> None:
    left = SkippedFiles()
    for folder in sorted({path.parent for path, _ in files}) if source.is_dir() else []:
        left.others(folder, [path for path, _ in files])
    left.log_summary(source)


def _users(path: Path, part: str) -> list[_Part]:
    """Return what each user of a file has, in the file's order."""
    size = path.stat().st_size
    check_room("data.source", f"the numbers of {path.name}", _TIMES * size)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(str(path), f"not JSON ({error})", _REMEDY) from error
    data = content.get("user_data")
    if not isinstance(data, dict):
        raise DataError(str(path), "has no table `user_data`", _REMEDY)
    listed = content.get("users", list(data))
    if not isinstance(listed, list) or sorted(map(str, listed)) != sorted(data):
        raise DataError(str(path), "`users` are not those of `user_data`", _REMEDY)
    found = [_of_user(path, part, str(user), data[str(user)]) for user in listed]
    counts = content.get("num_samples")
    if counts is not None and counts != [len(each.labels) for each in found]:
        raise DataError(str(path), "`num_samples` are not what its users have", _REMEDY)
    return found


def _of_user(path: Path, part: str, user: str, content: Any) -> _Part:
    where = f"{path}: user {user!r}"
    if not isinstance(content, Mapping) or not {"x", "y"} <= content.keys():
        raise DataError(where, "has no `x` and `y`", _REMEDY)
    x, y = content["x"], content["y"]
    if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
        raise DataError(
            where, "has another number of samples in `x` than of labels in `y`", _REMEDY
        )
    return _Part(user, part, _numbers(where, x), _labels(where, y))


def _numbers(where: str, x: list[Any]) -> NDArray[np.float32]:
    """Return samples (N, D)."""
    if any(isinstance(each, str) or (isinstance(each, list) and _worded(each)) for each in x):
        problem = "its samples are texts or names of files"
        remedy = "make numbers of them in Python, and give edgeloop.simulate arrays: docs/python.md"
        raise DataError(where, problem, remedy)
    try:
        array = np.array(x, np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(where, "its samples are no numbers of one length", _REMEDY) from error
    if array.ndim != 2 and len(x):
        problem = f"`x` has shape {array.shape}"
        raise DataError(where, problem, "give each sample a list of numbers")
    return array


def _worded(cells: list[Any]) -> bool:
    return any(isinstance(each, str | list) for each in cells[:1])


def _labels(where: str, y: list[Any]) -> NDArray[Any]:
    labels = np.array(y) if y else np.zeros(0, np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "iufbU":
        raise DataError(where, "`y` holds no label for each sample", _REMEDY)
    return labels


def _check_widths(source: Path, parts: list[_Part]) -> None:
    first = parts[0]
    for each in parts:
        if each.inputs.shape[1] != first.inputs.shape[1]:
            problem = (
                f"user {each.user!r} has samples of {each.inputs.shape[1]} numbers,"
                f" and {first.user!r} of {first.inputs.shape[1]}"
            )
            raise DataError(str(source), problem, "give all samples one length")
        if (each.labels.dtype.kind == "U") != (first.labels.dtype.kind == "U"):
            problem = f"of {each.user!r} and {first.user!r} one has words for labels, one numbers"
            raise DataError(str(source), problem, "name all classes, or number all")


SOURCE = Source("LEAF", matches, read)
