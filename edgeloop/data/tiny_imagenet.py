"""Reads Tiny-ImageNet (Stanford CS231n) from its own folder.

    tiny-imagenet-200/    train/WNID/images/*.JPEG, words.txt

Only its training part is used, as in PFLlib: 100,000 images, 500 of each of 200 classes.
"""

from pathlib import Path

import numpy as np

from edgeloop.data.class_layout import image_files
from edgeloop.data.images import Size, content, decode
from edgeloop.data.samples import Pool

FOLDER = "tiny-imagenet-200"


def matches(source: Path) -> bool:
    """Return whether this folder, or one in it, has classes with a folder `images` each."""
    return bool(_classes(source))


def read(source: Path, size: Size = None) -> Pool:
    """Pool the training images, uint8 (N, 3, H, W), by class and file name.

    Classes are numbered by WordNet id. They are called what `words.txt` calls them, if that tells
    all of them apart, and by their ids otherwise.

    Args:
        source: the folder, or the one it lies in.
        size: pixels of a side that images are resized to; None leaves them as they are.

    Raises:
        DataError: images that cannot be decoded or differ in size.
    """
    classes = _classes(source)
    files = [(label, file) for label, each in enumerate(classes) for file in image_files(each)]
    images = decode(((str(file), content(file)) for _, file in files), len(files), size)
    labels = np.array([label for label, _ in files], np.int64)
    words = classes[0].parents[2] / "words.txt"
    return Pool(images, labels, _class_names([each.parent.name for each in classes], words))


def _classes(source: Path) -> list[Path]:
    """Return each class's folder of images, by WordNet id."""
    places = (source / "train", source / FOLDER / "train")
    train = next((each for each in places if each.is_dir()), source)
    found = sorted(each for each in train.glob("*/images") if each.is_dir())
    return found if train != source and any(map(image_files, found)) else []


def _class_names(ids: list[str], words: Path) -> tuple[str, ...]:
    if not words.is_file():
        return tuple(ids)
    lines = (line.partition("\t") for line in words.read_text("utf-8").splitlines())
    known = {name: text.partition(",")[0].strip() for name, _, text in lines}
    names = tuple(known.get(each, each) for each in ids)
    return names if len(set(names)) == len(names) else tuple(ids)
