"""What `load` opens, and what it says where it cannot."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgeloop.data import Partition, catalogue, layout_of, load, read
from edgeloop.data.images import optional
from edgeloop.errors import ConfigError, DataError
from tests.data.layouts import idx_pair, picture, place

IID = Partition("iid", clients=4, balanced=True)


def test_the_embedded_sample_is_balanced_and_in_order() -> None:
    federation = load("fashion-sample", IID)
    assert (federation.shape, federation.pixels, federation.classes) == ((1, 28, 28), True, 10)
    assert federation.label_counts().tolist() == [[150] * 10] * 4
    assert federation.class_names[0] == "T-shirt/top"
    assert federation.class_names[9] == "Ankle boot"


@pytest.mark.parametrize("source", ["fashion-sample", Path("fashion-sample")])
def test_an_undivided_source_needs_a_partition(source: Any) -> None:
    with pytest.raises(ConfigError, match="partition: missing"):
        load(source)


def test_a_path_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="nowhere/x: no such file or folder"):
        load("nowhere/x", IID)


def test_an_unknown_layout_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no data")
    with pytest.raises(DataError, match=r"notes\.txt: unknown layout"):
        load(tmp_path / "notes.txt", IID)
    with pytest.raises(DataError, match=r"unknown layout, with 1 \.txt; give it config\.json"):
        load(tmp_path, IID)


def test_only_client_files_have_a_layout() -> None:
    with pytest.raises(ConfigError, match="layout: 'signal'"):
        load("fashion-sample", IID, layout="signal")


def test_a_reader_that_is_not_installed_names_its_extra() -> None:
    with pytest.raises(DataError, match=r"pip install 'edgeloop\[sim\]'"):
        optional("edgeloop.no_such_reader", "pillow")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("cifar10", "run: edgeloop data fetch cifar10 --into some/cifar10"),
        ("Flowers102", "run: edgeloop data fetch flowers102 --into some/Flowers102"),
        ("FashionMNIST", "run: edgeloop data fetch fashion-mnist --into some/FashionMNIST"),
        ("emnist", "run: edgeloop data fetch emnist-digits --into some/emnist"),
        ("TinyImagenet", "get tiny-imagenet from http://cs231n.stanford.edu/tiny-imagenet-200.zip"),
        ("har", "get har from https://archive.ics.uci.edu/dataset/240, and unpack it there"),
        ("mine", "edgeloop data list shows what can be fetched"),
    ],
)
def test_what_is_missing_says_how_to_get_it(name: str, remedy: str) -> None:
    with pytest.raises(DataError, match=f"some/{name}: no such file or folder") as caught:
        load(f"some/{name}", IID)
    assert remedy in caught.value.remedy


def test_names_of_the_catalogue_are_told_apart() -> None:
    names = [entry.name for entry in catalogue.CATALOGUE]
    assert len(set(names)) == len(names)
    for entry in catalogue.CATALOGUE:
        assert catalogue.find(entry.name) is entry
        for word in (entry.name, entry.name.upper(), *entry.aliases):
            assert catalogue.recognise(word) is entry
    with pytest.raises(ConfigError, match="name: there is no 'CIFAR-10'; use cifar10"):
        catalogue.find("CIFAR-10")
    with pytest.raises(ConfigError, match="name: there is no 'x'; choose one of fashion-sample"):
        catalogue.find("x")


def test_pictures_of_all_sizes_are_resized_where_a_size_is_given(tmp_path: Path) -> None:
    place(tmp_path / "a" / "0.png", picture(10, (9, 4)))
    place(tmp_path / "b" / "1.png", picture(20, (3, 5)))
    assert layout_of(tmp_path).layout == "class folders"
    with pytest.raises(DataError, match=r"where the first has .*; give --image-size"):
        read(tmp_path)
    pool = read(tmp_path, image_size=6)
    assert pool.inputs.shape == (2, 3, 6, 6)
    assert pool.inputs[:, :, 3, 3].tolist() == [[10, 0, 255], [20, 0, 255]]


def test_resizing_does_not_keep_the_aspect_ratio_and_is_bilinear(tmp_path: Path) -> None:
    path = place(tmp_path / "a" / "0.png", b"")
    image = Image.new("L", (4, 2))
    image.putdata([0, 0, 100, 100] * 2)
    image.save(path)
    # Twice as high, half as wide: a pixel is the mean of a triangle over its neighbours.
    assert read(tmp_path, image_size=2).inputs[0, 0].tolist() == [[14, 86], [14, 86]]


def test_an_image_size_is_of_image_files(tmp_path: Path) -> None:
    idx_pair(tmp_path, "train", [1], [0], packed=False)
    for source in (tmp_path, Path("fashion-sample")):
        with pytest.raises(ConfigError, match="image_size: is of image files"):
            load(source, IID, image_size=8)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"image_size: is of image files.*one file per client"):
        load(tmp_path, image_size=8)
