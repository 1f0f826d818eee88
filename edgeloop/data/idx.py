"""Reads IDX files of bytes, as MNIST, Fashion-MNIST and EMNIST come in, packed with gzip or not.

    train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, ...   (MNIST)
    emnist-SPLIT-train-images-idx3-ubyte, ..., emnist-SPLIT-test-images-idx3-ubyte, ...

They are looked for in the folder, in its `raw`, and where torchvision puts them: `NAME/raw`. A dot
may stand before `idx`, and each file may lie in a folder of its own name, as some programs unpack.

Shape suffixes: N images, H and W pixels.
"""

import gzip
import math
import string
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import sample
from edgeloop.data.left_out import is_hidden
from edgeloop.data.samples import Pool
from edgeloop.errors import DataError

_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_TRAIN = "train-"
_LIMIT = 2**31  # bytes of one unpacked file; the largest known, EMNIST's, has 0.6 GB
_MERGED = "cijklmopsuvwxyz"  # EMNIST: letters whose two cases are one class
_LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_EMNIST = {
    "byclass": tuple(_LETTERS),
    "bymerge": tuple(each for each in _LETTERS if each not in _MERGED),
    "balanced": tuple(each for each in _LETTERS if each not in _MERGED),
    "letters": tuple(string.ascii_lowercase),
    "digits": tuple(string.digits),
    "mnist": tuple(string.digits),
}


def matches(source: Path) -> bool:
    """Return whether this is a file of training images, or a folder that has one."""
    return bool(_training_images(source))


def read(source: Path) -> Pool:
    """Pool training then test images, uint8 (N, 1, H, W), in the files' order.

    Images stay as they lie in the file; EMNIST's lie on their side. The split `letters` of EMNIST
    counts from 1, and is counted from 0 here.

    Args:
        source: a folder, or the file of the training images where a folder has several sets.

    Raises:
        DataError: several sets in one folder, or a file that is missing, malformed or cut short.
    """
    found = _training_images(source)
    if len(found) > 1:
        names = ", ".join(each.name for each in found)
        problem = f"holds several sets: {names}"
        raise DataError(str(source), problem, "name the file of the one you mean")
    images = found[0]
    parts = [(_read_pair(path)) for path in (images, _of_test(images))]
    images_NHW = np.concatenate([part[0] for part in parts])
    labels = np.concatenate([part[1] for part in parts]).astype(np.int64)
    if _split(images) == "letters":
        labels -= 1
    return Pool(images_NHW[:, np.newaxis], labels, _class_names(images, labels))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of bytes: two zeros, type 8, rank, big-endian sizes, content.

    Raises:
        DataError: a file that is missing, malformed, cut short or larger than 2 GiB unpacked.
    """
    content = _content(path)
    rank = content[3] if content[:3] == b"\0\0\x08" else 0
    if not rank or len(content) < 4 + 4 * rank:
        raise DataError(str(path), "no IDX file of bytes", "download it again")
    sizes = tuple(np.frombuffer(content, ">u4", rank, 4).tolist())
    held = len(content) - 4 - 4 * rank
    if math.prod(sizes) != held:
        problem = f"{held} bytes for an array of shape {sizes}"
        raise DataError(str(path), problem, "download it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def _training_images(source: Path) -> list[Path]:
    if source.is_file():
        return [source] if _plain(source).endswith(f"{_TRAIN}{_IMAGES}") else []
    within = _folders(source)
    places = (source, source / "raw", *(each / "raw" for each in within))
    for place in places:
        found = {_plain(each): each for each in _files(place) if _is_training(each)}
        if found:
            return [found[name] for name in sorted(found)]
    return [file for each in within if _is_training(each) for file in _files(each)]


def _files(place: Path) -> list[Path]:
    return sorted(each for each in place.glob("*") if each.is_file() and not is_hidden(each))


def _is_training(path: Path) -> bool:
    return _plain(path).endswith(f"{_TRAIN}{_IMAGES}")


def _plain(path: Path) -> str:
    """Return a name as MNIST's authors write it: others have a dot before `idx`, and no `ubyte`."""
    name = path.name.lower().removesuffix(".gz").replace(".idx", "-idx")
    return name if name.endswith("-ubyte") else f"{name.removesuffix('.ubyte')}-ubyte"


def _folders(source: Path) -> list[Path]:
    return sorted(each for each in source.iterdir() if each.is_dir()) if source.is_dir() else []


def _of_test(images: Path) -> Path:
    """Return the file of the test images: MNIST's is `t10k`, EMNIST's `test`."""
    plain = _plain(images)
    names = [plain.replace(_TRAIN, part) for part in ("t10k-", "test-")]
    found = [_called(images, name) for name in names]
    return next((each for each in found if each is not None), images.with_name(names[0]))


def _called(images: Path, plain: str) -> Path | None:
    """Return the file beside the images that has this plain name, packed or not; or None.

    Some programs unpack each file into a folder of its name.
    """
    beside = _files(images.parent)
    if _plain(images.parent).endswith(_IMAGES):
        folders = [each for each in _folders(images.parents[1]) if _plain(each) == plain]
        beside = [file for each in folders for file in _files(each)]
    return next((each for each in beside if _plain(each) == plain), None)


def _read_pair(images: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    name = _plain(images).replace(_IMAGES, _LABELS)
    labels = _called(images, name) or images.with_name(name)
    images_NHW, labels_N = read_idx(images), read_idx(labels)
    if images_NHW.ndim != 3 or labels_N.ndim != 1:
        problem = f"images of shape {images_NHW.shape} and labels of shape {labels_N.shape}"
        raise DataError(str(images), problem, "give it images (N, H, W) and labels (N,)")
    if len(images_NHW) != len(labels_N):
        problem = f"{len(images_NHW)} images, and {len(labels_N)} labels in {labels.name}"
        raise DataError(str(images), problem, "download both again: they are of different sets")
    return images_NHW, labels_N


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise DataError(str(path), "no such file", "download the set again")
    try:
        with path.open("rb") as plain, gzip.GzipFile(fileobj=plain) as packed:
            file: Any = packed if path.suffix.lower() == ".gz" else plain
            content: bytes = file.read(_LIMIT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(str(path), f"cannot be read ({error})", "download it again") from error
    if len(content) > _LIMIT:
        raise DataError(str(path), f"holds more than {_LIMIT} bytes", "download it again")
    return content


def _split(images: Path) -> str:
    """Return EMNIST's word for its split, or nothing."""
    words = images.name.split("-")
    return words[1] if words[0] == "emnist" and words[1] in _EMNIST else ""


def _class_names(images: Path, labels: NDArray[np.int64]) -> tuple[str, ...]:
    if split := _split(images):
        return _EMNIST[split]
    fashion = any("fashion" in part.lower() for part in images.parts[-4:])
    if fashion and labels.max() < len(sample.CLASS_NAMES):
        return sample.CLASS_NAMES
    return tuple(map(str, range(int(labels.max()) + 1)))
