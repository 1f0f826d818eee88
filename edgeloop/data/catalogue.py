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
        name=NAME,
        title="6,000 images of Fashion-MNIST, in the package",
        samples=6_000,
        classes=10,
        shape=(1, 28, 28),
        layout="embedded",
        source="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
    ),
    Entry(
        name="mnist",
        title="MNIST, handwritten digits",
        samples=70_000,
        classes=10,
        shape=(1, 28, 28),
        layout="IDX",
        source="http://yann.lecun.com/exdb/mnist/",
        licence=_UNSTATED,
        torchvision="MNIST",
    ),
    Entry(
        name="fashion-mnist",
        title="Fashion-MNIST, clothes",
        samples=70_000,
        classes=10,
        shape=(1, 28, 28),
        layout="IDX",
        source="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        torchvision="FashionMNIST",
        aliases=("fmnist",),
    ),
    *(
        Entry(
            name=f"emnist-{split}",
            title=f"EMNIST, split {split}",
            samples=samples,
            classes=classes,
            shape=(1, 28, 28),
            layout="IDX",
            source="https://www.nist.gov/itl/products-and-services/emnist-dataset",
            licence=_UNSTATED,
            torchvision="EMNIST",
            options={"split": split},
            aliases=("emnist",) if split == "digits" else (),
        )
        for split, (samples, classes) in _EMNIST.items()
    ),
    Entry(
        name="cifar10",
        title="CIFAR-10, small pictures",
        samples=60_000,
        classes=10,
        shape=(3, 32, 32),
        layout="CIFAR batches",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence=_UNSTATED,
        torchvision="CIFAR10",
    ),
    Entry(
        name="cifar100",
        title="CIFAR-100, fine labels",
        samples=60_000,
        classes=100,
        shape=(3, 32, 32),
        layout="CIFAR batches",
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence=_UNSTATED,
        torchvision="CIFAR100",
    ),
    Entry(
        name="flowers102",
        title="Oxford Flowers, resized to 64 x 64",
        samples=8_189,
        classes=102,
        shape=(3, 64, 64),
        layout="Flowers102",
        source="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        licence=_UNSTATED,
        torchvision="Flowers102",
        aliases=("oxfordflowers", "flowers"),
    ),
    Entry(
        name="tiny-imagenet",
        title="Tiny-ImageNet, its training part",
        samples=100_000,
        classes=200,
        shape=(3, 64, 64),
        layout="Tiny-ImageNet",
        source="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        licence="ImageNet's terms: research, not commercial",
        aliases=("tinyimagenet200",),
    ),
    Entry(
        name="har",
        title="UCI HAR, phones of 30 people",
        samples=10_299,
        classes=6,
        shape=(9, 1, 128),
        layout="UCI HAR",
        source="https://archive.ics.uci.edu/dataset/240",
        licence="CC BY 4.0",
        aliases=("ucihar", "ucihardataset"),
    ),
    Entry(
        name="pamap2",
        title="PAMAP2, motion sensors of 9 people",
        samples=15_012,
        classes=12,
        shape=(9, 3, 256),
        layout="PAMAP2",
        source="https://archive.ics.uci.edu/dataset/231",
        licence="CC BY 4.0",
        aliases=("pamap", "pamap2dataset"),
    ),
    Entry(
        name="iwildcam",
        title="iWildCam 2020, WILDS: 194 camera traps, resized to 64 x 64",
        samples=None,
        classes=158,
        shape=(3, 64, 64),
        layout="camera traps",
        source="https://wilds.stanford.edu/datasets/",
        licence="CDLA-Permissive-1.0",
        aliases=("iwildcamv20",),
    ),
    Entry(
        name="ag-news",
        title="AG News, 200 tokens a text",
        samples=127_600,
        classes=4,
        shape=(200,),
        layout="AG News",
        source="https://github.com/mhjabreel/CharCnn_Keras, data/ag_news_csv",
        licence="not commercial",
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
