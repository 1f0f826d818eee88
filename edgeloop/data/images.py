"""Decodes images, and reads folders named after classes into a pool.

Shape suffixes: N images, C colours (1 or 3), H and W pixels.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import advice
from edgeloop.data.class_layout import CONTAINERS, SUFFIXES, ClassLayout, Photo
from edgeloop.data.labels import log_alike
from edgeloop.data.parts import part_of
from edgeloop.data.room import check_room
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError, NoSamplesError
from edgeloop.runtime import pictures

log = logging.getLogger(__name__)

Size = int | tuple[int, int, int] | None
"""Pixels of a side, or a whole shape (C, H, W) with 1 or 3 colours, or None for the image's own."""

_LONGEST_PATH = 1024  # bytes
FLOAT = 4  # bytes of a pixel that a model reads
_EXTRA = "pip install 'edgeloop[sim]'"


def optional(module: str, package: str, remedy: str = _EXTRA) -> ModuleType:
    """Import a package that only readers need.

    Raises:
        DataError: it is not installed; the remedy names the extra that has it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise DataError(package, "is needed to read this source", remedy) from error


def decode(
    images: Iterable[tuple[str, bytes]],
    count: int,
    size: Size = None,
    wanted_N: NDArray[np.bool_] | None = None,
    spoiled: dict[int, DataError] | None = None,
) -> NDArray[np.uint8]:
    """Decode images of one size, or resize them to one; EXIF orientation is honoured.

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
            high, wide = image_CHW.shape[1:]
            what = f"{count} images of {high} x {wide}"
            check_room("data.source", what, count * 3 * high * wide * FLOAT)
            images_NCHW = np.zeros((count, 3, *image_CHW.shape[1:]), np.uint8)
        if image_CHW.shape[1:] != images_NCHW.shape[2:]:
            sizes = f"{image_CHW.shape[1:]} where the first has {images_NCHW.shape[2:]}"
            remedy = "give --image-size (image_size in a device's file)"
            raise DataError(name, f"has (height, width) {sizes}", remedy)
        images_NCHW[position] = image_CHW
        grey = grey and len(image_CHW) == 1
    return np.ascontiguousarray(images_NCHW[:, :1]) if grey else images_NCHW


def _decoded(content: bytes, name: str, size: Size) -> NDArray[np.uint8]:
    """Decode one image, (C, H, W)."""
    colours = size[0] if isinstance(size, tuple) else None
    sides = size[1:] if isinstance(size, tuple) else size and (size, size)
    return pictures.decode(content, name, channels=colours, size=sides or None)


def read_class_folders(
    folder: Path,
    size: Size = None,
    *,
    sparing: bool = False,
    choose: Callable[[list[Photo]], list[Photo]] = list,
) -> Pool:
    """Read a folder of images by class into a pool; see `class_layout` for what is understood.

    Classes are numbered by name, images ordered by part (train, val, test), class and file name.
    Domains are natural clients, numbered by name.

    Args:
        folder: the folder.
        size: see `decode`.
        sparing: leave out images that cannot be read or decoded, and say so; else they are an
            error, since what is drawn from a data set would depend on them.
        choose: which of the photos to read, in their order.

    Raises:
        DataError: no images there, or none that can be decoded, or images that differ in size, or
            no folders that are classes.
    """
    layout = ClassLayout(folder)
    photos = choose(_photos(layout))
    layout.left.log_summary(folder)
    if not sparing:
        _check_classes(layout)
    spoiled: dict[int, DataError] = {}
    contents = _contents([each.path for each in photos], spoiled if sparing else None)
    images_NCHW = decode(contents, len(photos), size, spoiled=spoiled if sparing else None)
    if spoiled:
        photos, images_NCHW = _without_unreadable(folder, photos, images_NCHW, spoiled)
    names = tuple(sorted({each.label for each in photos}))
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[each.label] for each in photos], np.int64)
    present = {part_of(part.name) for part in layout.parts} or {each.part for each in photos}
    _log_oddities(layout, names, present - {""})
    tested = test_mask([each.part for each in photos], present)
    return Pool(images_NCHW, labels, names, _domains(layout, photos), tested)


def _contents(
    files: list[Path], spoiled: dict[int, DataError] | None
) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes; what cannot be read is spoiled, and empty, where that is wanted."""
    for position, file in enumerate(files):
        data = b""
        try:
            data = content(file)
        except DataError as error:
            if spoiled is None:
                raise
            spoiled[position] = error
        yield str(file), data


def _without_unreadable(
    folder: Path,
    files: list[Photo],
    images_NCHW: NDArray[np.uint8],
    spoiled: dict[int, DataError],
) -> tuple[list[Photo], NDArray[np.uint8]]:
    """Return the files and images that are not spoiled, and say which are.

    Raises:
        DataError: if all of them are.
    """
    first = next(iter(spoiled.values()))
    if len(spoiled) == len(files):
        raise NoSamplesError(first.field, first.problem, first.remedy) from first
    sentence = "%s: left out: %d that cannot be read, such as %s: %s; %s"
    log.warning(sentence, folder, len(spoiled), first.field, first.problem, first.remedy)
    sound = [position for position in range(len(files)) if position not in spoiled]
    return [files[position] for position in sound], images_NCHW[sound]


def _check_classes(layout: ClassLayout) -> None:
    """Refuse folders that are called after parts or after what they hold: they are no classes.

    Raises:
        DataError: naming them, and what lies beside them.
    """
    names = sorted({each.label for each in layout.photos})
    all_parts = len(names) > 1 and all(map(part_of, names))
    only = len(names) == 1 and (part_of(names[0]) or names[0].lower() in CONTAINERS)
    if all_parts or only:
        beside = str(layout.left)
        problem = f"has images in {', '.join(names)}, and no folder for each class"
        remedy = "put the images of each class into a folder, or list them in a CSV: docs/data.md"
        raise DataError(str(layout.folder), problem + (beside and f"; with {beside}"), remedy)


def _domains(layout: ClassLayout, photos: Sequence[Photo]) -> NDArray[np.int64] | None:
    """Return whose each image is, (N,), where there are domains, and say that there are."""
    names = sorted({each.domain for each in photos})
    if names == [""]:
        return None
    sentence = (
        "%s: %s hold the same folders: each is read as a natural client, those within as classes"
    )
    log.warning(sentence, layout.folder, ", ".join(names))
    _log_merged(layout.folder, photos)
    return np.array([names.index(each.domain) for each in photos], np.int64)


def _log_merged(folder: Path, photos: Sequence[Photo]) -> None:
    """Say where all classes hold the same folders once more: those may be the classes."""
    below: defaultdict[str, set[str]] = defaultdict(set)
    dealt = [each for each in photos if each.domain]  # a part may have classes without domains
    for each in dealt:
        inside = each.path.relative_to(folder).parts[:-1]
        inside = inside[inside.index(each.domain) + 1 :]
        inside = inside[inside.index(each.label) + 1 :]
        below[each.label].add(inside[0] if inside else "")
    held = set.intersection(*below.values())
    if len(held) > 1 and "" not in held:
        log.warning(
            "%s: the classes %s hold the same folders once more: %s; if these are the classes, name"
            " one folder inside, such as %s",
            folder,
            ", ".join(sorted(below)),
            ", ".join(sorted(held)),
            folder / dealt[0].domain,
        )


def _log_oddities(layout: ClassLayout, names: tuple[str, ...], present: Collection[str]) -> None:
    """Say what is legal and seldom meant."""
    folder = layout.folder
    log_alike(str(folder), names)
    if len(names) == 1:
        log.warning("%s: has one class only, %s: each of its folders is one", folder, names[0])
    if present and "train" not in present:
        parts = sorted(part.name for part in layout.parts) or sorted(present)
        sentence = "%s: has no part train beside %s: its images are divided like any others"
        log.warning(sentence, folder, ", ".join(parts))


def test_mask(parts: Sequence[str], present: Collection[str]) -> NDArray[np.bool_] | None:
    """Return which samples a source has set aside for tests; None where it has set none aside.

    Args:
        parts: of `parts.PARTS`, whose each sample is, (N,).
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
    return [each.path for each in _photos(ClassLayout(folder))]


def _photos(layout: ClassLayout) -> list[Photo]:
    if layout.photos:
        _check_names(layout)
        return layout.photos
    left = str(layout.left)
    problem = f"unknown layout{left and ', with '}{left}"
    usual = "give it config.json, *.parquet, a CSV with labels, or one folder of images per class"
    raise DataError(str(layout.folder), problem, advice.remedy(layout.folder) or usual)


def _check_names(layout: ClassLayout) -> None:
    """Refuse a class that no message can name."""
    for name in {each.label for each in layout.photos}:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            problem = f"the class folder {os.fsencode(name)!r} has a name that is not UTF-8"
            raise DataError(str(layout.folder), problem, "rename it") from error


def content(file: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        DataError: if it cannot be read, such as a link whose target is gone.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        if file.is_symlink():
            problem = f"is a link to {file.readlink()}, which {problem}"
        raise DataError(str(file), problem, "restore it, or remove it") from error
    if target := _link_as_text(data):
        problem = f"is a link to {target} that was written as text"
        raise DataError(str(file), problem, "put the image itself there, or remove it")
    return data


def _link_as_text(data: bytes) -> str:
    """Return the path that a file holds instead of an image; nothing where it holds none."""
    if not 0 < len(data) <= _LONGEST_PATH or not data.isascii():
        return ""
    text = data.decode("ascii").strip()
    return text if text.isprintable() and Path(text).suffix.lower() in SUFFIXES else ""
