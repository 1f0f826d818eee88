"""The embedded sample: what it holds, and that anyone can make it again."""

from pathlib import Path

import numpy as np
import pytest

from edgeloop.data import sample
from simulations.make_fashion_sample import IMAGES, first_of_each_class, licence

FOLDER = Path(sample.__file__).parent / "sample"


def test_the_embedded_sample_lies_beside_its_licence() -> None:
    text = (FOLDER / "LICENSE.fashion-mnist").read_text("utf-8")
    assert "Copyright (c) 2017 Zalando SE" in text
    assert "Permission is hereby granted" in text


def test_the_sample_has_no_pickle() -> None:
    with np.load(FOLDER / sample.FILE, allow_pickle=False) as arrays:
        assert arrays["train_x"].shape == (5000, 28, 28)
        assert arrays["test_x"].dtype == np.uint8
        assert np.bincount(arrays["test_y"]).tolist() == [100] * 10


@pytest.mark.skipif(not IMAGES.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize(("part", "source"), [("train", "train"), ("test", "t10k")])
def test_the_sample_is_what_the_package_gives(part: str, source: str) -> None:
    images, labels = first_of_each_class(source)
    with np.load(FOLDER / sample.FILE, allow_pickle=False) as arrays:
        assert np.array_equal(arrays[f"{part}_x"], images)
        assert np.array_equal(arrays[f"{part}_y"], labels)


def test_the_licence_is_cut_from_a_debian_copyright_file() -> None:
    text = licence("Files: *\nLicense: Expat\n\nLicense: Expat\n May be used.\n .\n AS IS. \n")
    assert text.startswith("The MIT License (MIT)")
    assert text.endswith("\n\nMay be used.\n\nAS IS.\n")
