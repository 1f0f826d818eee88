"""Who has which images in the demo: few each, and the same test images for all."""

import numpy as np

from edgeloop.data import Partition
from edgeloop.data.federation import PooledFederation
from edgeloop.data.sample import fashion_sample
from edgeloop.errors import ConfigError

TESTED = 1000
"""The sample's last images: every device is tested on all of them."""


def split_images(devices: int, images: int, seed: int) -> PooledFederation:
    """Return devices with so many images of each class, drawn from the sample's training images.

    Args:
        devices: how many.
        images: of each class, a device.
        seed: of the draw.

    Raises:
        ConfigError: if the sample has fewer images.
    """
    pool = fashion_sample()
    labels = pool.labels[:-TESTED]
    most = int(np.bincount(labels, minlength=pool.classes).min()) // devices
    if images > most:
        problem = f"{devices} devices with {images} images of a class are more than the sample has"
        raise ConfigError("--images", problem, f"use at most {most}")
    draw = np.random.default_rng(seed)
    shares: list[list[int]] = [[] for _ in range(devices)]
    for label in range(pool.classes):
        chosen = draw.permutation(np.flatnonzero(labels == label))
        for device, share in enumerate(shares):
            share.extend(chosen[device * images : (device + 1) * images].tolist())
    train = tuple(draw.permutation(np.array(share, np.int64)) for share in shares)
    test = (np.arange(len(labels), len(pool)),) * devices
    samples = devices * images * pool.classes
    return PooledFederation(pool, Partition("iid", clients=devices, samples=samples), train, test)
