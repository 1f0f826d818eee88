"""The data sets of the papers: what each is, where it comes from, and on which terms.

Numbers of samples are of the whole set, training and test together, as it is divided.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop.data.sample import NAME
from edgeloop.errors import ConfigError, choose


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes:
        name: as its users write it.
        title: in a few words.
        samples: N; None where the papers do not say.
        classes: C.
        shape: of one input as it is read, channels first.
        layout: what the folder holds, as `load` knows it.
        source: where it is published.
        licence: what is known of its terms.
        torchvision: its class there; empty if torchvision does not fetch it.
        options: what that class is asked for.
        aliases: other names, in small letters and digits only.
    """

    name: str
    title: str
    samples: int | None
    classes: int
    shape: tuple[int, ...]
    layout: str
    source: str
    licence: str
    torchvision: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


_EMNIST = {
    "byclass": (814_255, 62), "bymerge": (814_255, 47), "balanced": (131_600, 47),
    "letters": (145_600, 26), "digits": (280_000, 10), "mnist": (70_000, 10),
}  # fmt: skip
_UNSTATED = "not stated"

CATALOGUE = (
    Entry(
        *(NAME, "6,000 images of Fashion-MNIST, in the package", 6_000, 10, (1, 28, 28)),
        *("embedded", "https://github.com/zalandoresearch/fashion-mnist", "MIT"),
    ),
    Entry(
        *("mnist", "MNIST, handwritten digits", 70_000, 10, (1, 28, 28), "IDX"),
        *("http://yann.lecun.com/exdb/mnist/", _UNSTATED, "MNIST"),
    ),
    Entry(
        *("fashion-mnist", "Fashion-MNIST, clothes", 70_000, 10, (1, 28, 28), "IDX"),
        *("https://github.com/zalandoresearch/fashion-mnist", "MIT", "FashionMNIST"),
        aliases=("fmnist",),
    ),
    *(
        Entry(
            *(f"emnist-{split}", f"EMNIST, split {split}", samples, classes, (1, 28, 28), "IDX"),
            "https://www.nist.gov/itl/products-and-services/emnist-dataset",
            *(_UNSTATED, "EMNIST", {"split": split}),
            aliases=("emnist",) if split == "digits" else (),
        )
        for split, (samples, classes) in _EMNIST.items()
    ),
    Entry(
        *("cifar10", "CIFAR-10, small pictures", 60_000, 10, (3, 32, 32), "CIFAR batches"),
        *("https://www.cs.toronto.edu/~kriz/cifar.html", _UNSTATED, "CIFAR10"),
    ),
    Entry(
        *("cifar100", "CIFAR-100, fine labels", 60_000, 100, (3, 32, 32), "CIFAR batches"),
        *("https://www.cs.toronto.edu/~kriz/cifar.html", _UNSTATED, "CIFAR100"),
    ),
    Entry(
        *("flowers102", "Oxford Flowers, resized to 64 x 64", 8_189, 102, (3, 64, 64)),
        *("Flowers102", "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"),
        *(_UNSTATED, "Flowers102"),
        aliases=("oxfordflowers", "flowers"),
    ),
    Entry(
        *("tiny-imagenet", "Tiny-ImageNet, its training part", 100_000, 200, (3, 64, 64)),
        *("Tiny-ImageNet", "http://cs231n.stanford.edu/tiny-imagenet-200.zip"),
        "ImageNet's terms: research, not commercial",
        aliases=("tinyimagenet200",),
    ),
    Entry(
        *("har", "UCI HAR, phones of 30 people", 10_299, 6, (9, 1, 128), "UCI HAR"),
        "https://archive.ics.uci.edu/dataset/240",
        "CC BY 4.0",
        aliases=("ucihar", "ucihardataset"),
    ),
    Entry(
        *("pamap2", "PAMAP2, motion sensors of 9 people", 15_012, 12, (9, 3, 256), "PAMAP2"),
        "https://archive.ics.uci.edu/dataset/231",
        "CC BY 4.0",
        aliases=("pamap", "pamap2dataset"),
    ),
    Entry(
        "iwildcam",
        "iWildCam 2020, WILDS: 194 camera traps, resized to 64 x 64",
        *(None, 158, (3, 64, 64), "camera traps", "https://wilds.stanford.edu/datasets/"),
        "CDLA-Permissive-1.0",
        aliases=("iwildcamv20",),
    ),
    Entry(
        *("ag-news", "AG News, 200 tokens a text", 127_600, 4, (200,), "AG News"),
        "https://github.com/mhjabreel/CharCnn_Keras, data/ag_news_csv",
        "not commercial",
    ),
)


def find(name: str) -> Entry:
    """Return the entry of a name.

    Raises:
        ConfigError: if there is none.
    """
    for entry in CATALOGUE:
        if entry.name == name:
            return entry
    meant = recognise(name)
    remedy = choose(name, [entry.name for entry in CATALOGUE])
    raise ConfigError("name", f"there is no {name!r}", f"use {meant.name}" if meant else remedy)


def recognise(name: str) -> Entry | None:
    """Return the data set that a name means, however it is written: Cifar-10, TinyImagenet."""
    plain = _plain(name)
    for entry in CATALOGUE:
        if plain == _plain(entry.name) or plain in entry.aliases:
            return entry
    return None


def advice(path: Path) -> str | None:
    """Return how to get what a missing path is called after, an imperative clause.

    None where its name says nothing.
    """
    entry = recognise(path.name)
    if entry is None or entry.name == NAME:
        return None
    if entry.torchvision:
        return f"run: edgeloop data fetch {entry.name} --into {path}"
    return f"get {entry.name} from {entry.source}, and unpack it there"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
