"""The two small cuts of real data that the recorded runs learn on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgeloop import data
from edgeloop.data import ClientData, Partition, Pool, Samples
from edgeloop.data.sample import fashion_sample
from tests.parity.cases import ON_HAR, ON_IMAGES, Case

SUBJECTS = (0, 3, 7, 11, 29)
"""The persons of HAR, of whom each has 95 windows to learn from and 60 to be tested on."""


@dataclass(frozen=True)
class World:
    """Clients with data, and the models they have.

    Attributes:
        shape: of one input, channels first.
        classes: C.
        width: K.
        mixed: architectures that clients with models of their own take in turn.
        alike: the architecture of clients who must have one.
        clients: each one's samples by its name.
        cases: what is run here, by name.
    """

    shape: tuple[int, ...]
    classes: int
    width: int
    mixed: tuple[str, ...]
    alike: str
    clients: Mapping[str, ClientData]
    cases: Mapping[str, Case]

    @property
    def digest(self) -> str:
        """Return what tells these samples from others."""
        parts = [part for each in self.clients.values() for part in (each.train, each.test)]
        found = hashlib.sha256()
        for part in parts:
            found.update(np.ascontiguousarray(part.inputs).tobytes() + part.labels.tobytes())
        return found.hexdigest()


def images() -> World:
    """Return four clients with 360 images of the embedded sample, cut to 16 x 16 pixels.

    Among these no unit of `cnn` and `resnet4` is so near to 0, and no two pixels of a pool are so
    nearly equal, that another processor's rounding decides them in three rounds of FedAvg or Local;
    among 480 images some are, and then a client's weights differ by 0.4 % of what they moved.
    """
    whole = fashion_sample()
    cut = np.ascontiguousarray(whole.inputs[:360, :, 6:22, 6:22])
    few = Pool(cut, whole.labels[:360], whole.class_names)
    dealt = data.split(few, Partition("dirichlet", clients=4, alpha=0.5))
    clients = {f"client-{number:02}": dealt.client(number) for number in range(4)}
    return World((1, 16, 16), 10, 32, ("cnn", "resnet4"), "cnn", clients, ON_IMAGES)


def har(folder: Path) -> World:
    """Return five persons of HAR.

    Args:
        folder: the data set's, as PFLlib writes it.
    """
    whole = data.load(str(folder))
    clients = {f"client-{number:02}": _first(whole.client(number)) for number in SUBJECTS}
    kinds = ("harcnn-s1", "harcnn-s2")
    return World(whole.shape, whole.classes, 512, kinds, kinds[0], clients, ON_HAR)


def _first(share: ClientData) -> ClientData:
    return ClientData(_some(share.train, 95), _some(share.test, 60))


def _some(samples: Samples, count: int) -> Samples:
    return Samples(samples.inputs[:count], samples.labels[:count])


def one_thread() -> None:
    """Compute as the record was made."""
    torch.set_num_threads(1)
