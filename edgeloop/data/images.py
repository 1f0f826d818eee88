"""Decodes images, and reads folders named after classes into a pool.

Shape suffixes: N images, C colours (1 or 3), H and W pixels.
"""

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.left_out import SkippedFiles, is_hidden, is_special
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError, MisfitError
from edgeloop.runtime import pictures

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg")
KINDS = ("PNG", "JPEG")
Size = int | tuple[int, int, int] | None
"""Pixels of a side, or a whole shape (C, H, W) with 1 or 3 colours, or None for the image's own."""

# In this order the parts of a data set are pooled.
PARTS = ("train", "val", "test")
FLOAT = 4  # bytes of a pixel that a model reads
_EXTRA = "pip install 'edgeloop[sim]'"


def optional(module: str, package: str) -> ModuleType:
    """Import a package that only readers need.

    Raises:
        DataError: it is not installed; the remedy names the extra that has it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(package, "is needed to read this source", _EXTRA) from error


def decode(
    images: Iterable[tuple[str, bytes]],
    count: int,
    size: Size = None,
    wanted_N: NDArray[np.bool_] | None = None,
    spoiled: dict[int, DataError] | None = None,
) -> NDArray[np.uint8]:
    """Decode PNG or JPEG images of one size, or resize them to one; EXIF orientation is honoured.

    Args:
        images: each one's name, for messages, and its bytes.
        count: how many there are, N.
        size: pixels of a side, both sides alike, or a shape to convert to: bilinear, the aspect
            ratio is not kept. None leaves images as they are.
        wanted_N: which images to decode; the others stay black. None decodes all.
        spoiled: takes up, by their places, the errors of images that cannot be decoded, and these
            stay black. None raises the first.

    Returns:
        uint8 (N, C, H, W); C is the shape's, or 1 where every decoded image is grey, else 3.

    Raises:
        DataError: an image that cannot be decoded, or differs in size from the first one where
            none is given.
    """
    images_NCHW = np.empty((0, 3, 0, 0), np.uint8)
    grey = True
    for position, (name, content) in enumerate(images):
        if wanted_N is not None and not wanted_N[position]:
            continue
        try:
            image_CHW = _decoded(content, name, size)
        except DataError as error:
            if spoiled is None:
                raise
            spoiled.setdefault(position, error)
            continue
        if not len(images_NCHW):
            _check_room(count, image_CHW.shape[1:])
            images_NCHW = np.zeros((count, 3, *image_CHW.shape[1:]), np.uint8)
        if image_CHW.shape[1:] != images_NCHW.shape[2:]:
            sizes = f"{image_CHW.shape[1:]} where the first has {images_NCHW.shape[2:]}"
            remedy = "resize all images to one size, or give an image size"
            raise DataError(name, f"has (height, width) {sizes}", remedy)
        images_NCHW[position] = image_CHW
        grey = grey and len(image_CHW) == 1
    return np.ascontiguousarray(images_NCHW[:, :1]) if grey else images_NCHW


def _decoded(content: bytes, name: str, size: Size) -> NDArray[np.uint8]:
    """Decode one image, (C, H, W)."""
    colours = size[0] if isinstance(size, tuple) else None
    sides = size[1:] if isinstance(size, tuple) else size and (size, size)
    return pictures.decode(content, name, channels=colours, size=sides or None, kinds=KINDS)


def _check_room(count: int, sides: tuple[int, ...]) -> None:
    """Refuse images that this machine has no memory for, before any is taken.

    Raises:
        MisfitError: saying how many there are, and of what size.
    """
    needed = count * 3 * sides[0] * sides[1] * FLOAT
    if not hasattr(os, "sysconf"):
        return  # there is no telling
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        problem = (
            f"{count} images of {sides[0]} x {sides[1]} are {needed / 2**30:.0f} GiB as floats"
        )
        remedy = f"have smaller or fewer ones; this machine has {memory / 2**30:.0f} GiB"
        raise MisfitError("data.source", problem, remedy)


def read_class_folders(folder: Path, size: Size = None, *, sparing: bool = False) -> Pool:
    """Read `folder/CLASS/*.png`, or `folder/train/CLASS/*.png` and `test` likewise, into a pool.

    Classes are numbered by name, images ordered by part (train, val, test), class and file name.

    Args:
        folder: the folder.
        size: see `decode`.
        sparing: leave out images that cannot be read or decoded, and say so; else they are an
            error, since what is drawn from a data set would depend on them.

    Raises:
        DataError: no images there, or none that can be decoded, or images that differ in size.
    """
    files = class_files(folder)
    skipped_files(folder).log_summary(folder)
    spoiled: dict[int, DataError] = {}
    contents = (
        _contents(files, spoiled) if sparing else ((str(each), content(each)) for each in files)
    )
    images_NCHW = decode(contents, len(files), size, spoiled=spoiled if sparing else None)
    if spoiled:
        files, images_NCHW = _without_unreadable(folder, files, images_NCHW, spoiled)
    names = tuple(sorted({file.parent.name for file in files}))
    labels = np.array([names.index(file.parent.name) for file in files], np.int64)
    present = {part.name for part in _parts(folder)}
    _log_oddities(folder, names, present)
    whose = [file.parent.parent.name if present else "" for file in files]
    return Pool(images_NCHW, labels, names, tested=test_mask(whose, present))


def _contents(files: list[Path], spoiled: dict[int, DataError]) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes; what cannot be read is spoiled, and empty."""
    for position, file in enumerate(files):
        data = b""
        try:
            data = content(file)
        except DataError as error:
            spoiled[position] = error
        yield str(file), data


def _without_unreadable(
    folder: Path,
    files: list[Path],
    images_NCHW: NDArray[np.uint8],
    spoiled: dict[int, DataError],
) -> tuple[list[Path], NDArray[np.uint8]]:
    """Return the files and images that are not spoiled, and say which are.

    Raises:
        DataError: if all of them are.
    """
    first = next(iter(spoiled.values()))
    if len(spoiled) == len(files):
        raise first
    told = "%s: left out: %d that cannot be read, such as %s: %s; %s"
    log.warning(told, folder, len(spoiled), first.field, first.problem, first.remedy)
    sound = [position for position in range(len(files)) if position not in spoiled]
    return [files[position] for position in sound], images_NCHW[sound]


def _log_oddities(folder: Path, names: tuple[str, ...], present: Collection[str]) -> None:
    """Say what is legal and seldom meant."""
    if len(names) == 1:
        log.warning("%s: has one class only, %s: each of its folders is one", folder, names[0])
    if present and "train" not in present:
        told = "%s: has no part train beside %s: its images are divided like any others"
        log.warning(told, folder, ", ".join(sorted(present)))


def test_mask(parts: Sequence[str], present: Collection[str]) -> NDArray[np.bool_] | None:
    """Return which samples a source has set aside for tests; None where it has set none aside.

    Args:
        parts: of `PARTS`, whose each sample is, (N,).
        present: those that the source has, maybe empty.
    """
    if "train" not in present:
        return None
    for part in ("test", "val"):
        if part in present:
            return np.array([each == part for each in parts], np.bool_)
    return None


def class_files(folder: Path) -> list[Path]:
    """Return the images of a folder with classes, by part, class and file name.

    Raises:
        DataError: if there are none.
    """
    classes = _classes(folder)
    _check_names(folder, classes)
    files = [file for each in classes for file in image_files(each)]
    if not files:
        left = str(skipped_files(folder))
        problem = f"unknown layout{left and ', with '}{left}"
        remedy = "give it config.json, *.parquet, or one folder of PNG or JPEG images per class"
        raise DataError(str(folder), problem, remedy)
    return files


def _check_names(folder: Path, classes: Iterable[Path]) -> None:
    """Refuse a class that no message can name."""
    for each in classes:
        try:
            each.name.encode()
        except UnicodeEncodeError as error:
            problem = f"the class folder {os.fsencode(each.name)!r} has a name that is not UTF-8"
            raise DataError(str(folder), problem, "rename it") from error


def skipped_files(folder: Path) -> SkippedFiles:
    """Return what `read_class_folders` does not read of a folder."""
    left, classes, parts = SkippedFiles(), _classes(folder), _parts(folder)
    if parts:
        left.others(folder, parts, f"beside {', '.join(part.name for part in parts)}")
    for part in parts or [folder]:
        left.others(part, classes, "")
    for each in classes:
        images = image_files(each)
        left.others(each, images, "within a class")
        if not images:
            left.folder(each, "without images")
    return left


def _parts(folder: Path) -> list[Path]:
    """Return those of `PARTS` that a folder has, empty ones too; a class may be called like one."""
    named = [folder / part for part in PARTS if (folder / part).is_dir()]
    divided = {part for part in named if any(each.is_dir() for each in part.iterdir())}
    return [part for part in named if part in divided or (divided and not any(part.iterdir()))]


def _classes(folder: Path) -> list[Path]:
    return [
        each
        for part in _parts(folder) or [folder]
        for each in sorted(part.iterdir())
        if each.is_dir() and not is_hidden(each)
    ]


def image_files(folder: Path) -> list[Path]:
    """Return a folder's PNG and JPEG files by name; hidden ones are none."""
    return sorted(
        each
        for each in folder.iterdir()
        if each.suffix.lower() in SUFFIXES
        and not is_hidden(each)
        and not each.is_dir()
        and not is_special(each)
    )


def content(file: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        DataError: if it cannot be read, such as a link whose target is gone.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        if file.is_symlink():
            problem = f"is a link to {file.readlink()}, which {problem}"
        raise DataError(str(file), problem, "restore it, or remove it") from error
