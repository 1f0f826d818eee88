"""The embedded sample: 6,000 images of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017)."""

from importlib.resources import files

import numpy as np

from edgeloop.data.samples import Pool

NAME = "fashion-sample"
FILE = "fashion-mnist.npz"
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def fashion_sample() -> Pool:
    """Return 5,000 training then 1,000 test images, uint8 (1, 28, 28), 600 of each class."""
    path = files("edgeloop.data") / "sample" / FILE
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        inputs_NHW = np.concatenate([arrays["train_x"], arrays["test_x"]])
        labels = np.concatenate([arrays["train_y"], arrays["test_y"]])
    return Pool(inputs_NHW[:, np.newaxis], labels.astype(np.int64), CLASS_NAMES)
