"""Which images of a folder are of which class, part and natural client: by what the folders hold.

    CLASS/*.png, and deeper              train/CLASS/*.png, test/CLASS/*.png (Training, valid)
    DOMAIN/CLASS/*.png                   DOMAIN/train/CLASS/*.png

Folders are domains, whose classes are the folders within, where several of them hold no images but
folders of the same names. One folder that holds all the others is gone through; so is one called
`images` or the like, beside folders without images. Links that lead back up are not followed.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edgeloop.data.left_out import SkippedFiles, is_hidden, is_special
from edgeloop.data.parts import part_of, rank

log = logging.getLogger(__name__)

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pnm"),
)
CONTAINERS = frozenset(
    ("images", "image", "imgs", "img", "photos", "pictures", "pics", "data", "jpg", "jpeg", "png")
)
"""Folders that are called after what they hold, and no class."""
_DEEPEST = 6
"""Folders within a class in which images are looked for."""
_SHARED = 0.5
"""Of the names that two domains have, the share that both have."""


@dataclass(frozen=True)
class Photo:
    """An image file: where it is, its class, its part and its domain; both may be none."""

    path: Path
    label: str
    part: str
    domain: str


@dataclass(frozen=True)
class ClassLayout:
    """What a folder holds.

    Attributes:
        folder: as it was named.
    """

    folder: Path
    _left: SkippedFiles = field(default_factory=SkippedFiles)

    @cached_property
    def photos(self) -> list[Photo]:
        """Return every image, by part, class and path."""
        return list(self._photos())

    @property
    def left(self) -> SkippedFiles:
        """What is no image of a class."""
        _ = self.photos
        return self._left

    @cached_property
    def root(self) -> Path:
        """The folder itself, or the one within it that holds all others."""
        root = self.folder
        while True:
            within = folders(root)
            holder = _holder(within)
            alone = holder is not None and not image_files(root) and not part_of(holder.name)
            if holder is None or not alone or image_files(holder) or not _holds_classes(holder):
                return root
            self._left.others(root, [holder], f"beside {holder.name}")
            root = holder

    @cached_property
    def parts(self) -> list[Path]:
        """The folders of parts in order, empty ones too; a class may be called like one."""
        return parts(self.root)

    def _photos(self) -> Iterator[Photo]:
        root, within = self.root, folders(self.root)
        if self.parts:
            names = ", ".join(part.name for part in self.parts)
            self._left.others(root, self.parts, f"beside {names}")
            for part in self.parts:
                yield from self._below(part, part_of(part.name))
        elif within and all(parts(each) for each in within):
            self._left.others(root, within)
            for domain in within:
                self._left.others(domain, parts(domain), "beside its parts")
                for part in parts(domain):
                    yield from self._below(part, part_of(part.name), domain.name)
        else:
            yield from self._below(root, "")

    def _below(self, base: Path, part: str, domain: str = "") -> Iterator[Photo]:
        within = folders(base)
        if not domain and are_domains(within):
            self._left.others(base, within)
            for each in within:
                yield from self._below(each, part, each.name)
            return
        extra = _of_the_same_classes(within)
        classes = [each for each in within if each not in extra]
        self._left.others(base, classes, "of the same classes" if extra else "")
        for each in classes:
            yield from self._of_class(each, part, domain)

    def _of_class(self, folder: Path, part: str, domain: str) -> Iterator[Photo]:
        found = False
        for place in _nested(folder):
            files = image_files(place)
            found = found or bool(files)
            within = folders(place)
            self._left.others(place, [*files, *within], "within a class")
            for each in filter(_leads_up, within):
                self._left.folder(each, "that is a link to one above")
            yield from (Photo(file, folder.name, part, domain) for file in files)
        if not found:
            self._left.folder(folder, "without images")


def parts(folder: Path) -> list[Path]:
    """Return the folders of a folder's parts; none where they hold no folders."""
    named = [each for each in folders(folder) if part_of(each.name)]
    divided = [each for each in named if folders(each)]
    kept = [each for each in named if each in divided or (divided and not any(each.iterdir()))]
    return sorted(kept, key=lambda each: (rank(part_of(each.name)), each.name))


def are_domains(within: Sequence[Path]) -> bool:
    """Return whether folders are no classes but hold the same ones, at least two of them."""
    if len(within) < 2 or any(image_files(each) for each in within):
        return False
    held = [frozenset(sub.name for sub in folders(each)) for each in within]
    common = [len(held[0] & each) / max(len(held[0] | each), 1) for each in held[1:]]
    return min(map(len, held)) >= 2 and min(common) >= _SHARED


def folders(folder: Path) -> list[Path]:
    """Return the folders in a folder by name; hidden ones are none."""
    return sorted(each for each in folder.iterdir() if each.is_dir() and not is_hidden(each))


def image_files(folder: Path) -> list[Path]:
    """Return a folder's image files by name; hidden ones are none."""
    return sorted(
        each
        for each in folder.iterdir()
        if each.suffix.lower() in SUFFIXES
        and not is_hidden(each)
        and not each.is_dir()
        and not is_special(each)
    )


def _holder(within: Sequence[Path]) -> Path | None:
    """Return the folder that holds all others: the only one, or the only one with images.

    CUB has `images` beside `attributes`, YOLO beside `labels`.
    """
    if len(within) == 1:
        return within[0]
    named = [each for each in within if each.name.lower() in CONTAINERS]
    others = [each for each in within if each not in named]
    return named[0] if len(named) == 1 and not any(map(_has_images, others)) else None


def _has_images(folder: Path) -> bool:
    return any(image_files(place) for place in _nested(folder))


def _holds_classes(folder: Path) -> bool:
    """Return whether there are folders within, one of them with an image or folders."""
    return any(image_files(each) or folders(each) for each in folders(folder))


def _of_the_same_classes(within: Sequence[Path]) -> list[Path]:
    """Return folders that hold no images, but classes that lie beside them already."""
    flat = {each.name for each in within if image_files(each)}
    return [
        each
        for each in within
        if each.name not in flat
        and (held := {sub.name for sub in folders(each)})
        and len(held) > 1
        and held <= flat
    ]


def _nested(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Yield a folder and the folders within it, but for links that lead back up."""
    yield folder
    if depth < _DEEPEST:
        for each in folders(folder):
            if not _leads_up(each):
                yield from _nested(each, depth + 1)


def _leads_up(folder: Path) -> bool:
    """Return whether a folder is a link to one that it lies in: going through would never end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())
