"""Makes the embedded sample from Debian's package `dataset-fashion-mnist`, which has all 70,000."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.idx import read_idx
from edgeloop.data.sample import CLASS_NAMES, FILE

# Where `dpkg -L dataset-fashion-mnist` puts them on every Debian.
IMAGES = Path("/usr/share/datasets/fashion-mnist")
COPYRIGHT = Path("/usr/share/doc/dataset-fashion-mnist/copyright")
TARGET = Path(__file__).parents[1] / "edgeloop" / "data" / "sample"
PER_CLASS = {"train": 500, "t10k": 100}


def main() -> None:
    """Write the sample and its licence; the same package gives the same bytes."""
    TARGET.mkdir(exist_ok=True)
    train_x, train_y = first_of_each_class("train")
    test_x, test_y = first_of_each_class("t10k")
    np.savez_compressed(
        TARGET / FILE, train_x=train_x, train_y=train_y, test_x=test_x, test_y=test_y
    )
    (TARGET / "LICENSE.fashion-mnist").write_text(licence(COPYRIGHT.read_text("utf-8")), "utf-8")


def first_of_each_class(part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the first images of each class, (N, 28, 28), and labels (N,), in file order."""
    labels = read_idx(IMAGES / f"{part}-labels-idx1-ubyte.gz")
    firsts = [np.flatnonzero(labels == k)[: PER_CLASS[part]] for k in range(len(CLASS_NAMES))]
    kept = np.sort(np.concatenate(firsts))
    return read_idx(IMAGES / f"{part}-images-idx3-ubyte.gz")[kept], labels[kept]


def licence(copyright_file: str) -> str:
    """Return the Expat (MIT) text of a Debian copyright file, under the copyright of the images."""
    _, _, text = copyright_file.rpartition("License: Expat\n")
    lines = [line.removeprefix(" ").rstrip() for line in text.splitlines()]
    paragraphs = "\n".join("" if line == "." else line for line in lines).strip()
    owner = "Fashion-MNIST: Copyright (c) 2017 Zalando SE, https://tech.zalando.com"
    return f"The MIT License (MIT)\n\n{owner}\n\n{paragraphs}\n"


if __name__ == "__main__":
    main()
