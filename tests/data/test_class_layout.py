"""Folders of images in the layouts that people have them in."""

from pathlib import Path

import pytest
from PIL import Image

from edgeloop.data import Partition, load, read
from edgeloop.data.class_layout import SUFFIXES
from edgeloop.data.images import read_class_folders
from edgeloop.errors import DataError
from tests.data.test_left_out import picture


def lay(folder: Path, *names: str) -> Path:
    """Place images with these paths; each has its number for a colour."""
    for number, name in enumerate(names):
        picture(folder / name, number)
    return folder


def said(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(each.getMessage() for each in caplog.records)


@pytest.mark.parametrize(
    "parts",
    [
        *(("train", "valid", "test"), ("train", "validation", "test"), ("train", "dev", "test")),
        *(("Training", "eval", "Testing"), ("TRAIN", "VAL", "TEST"), ("train", "val", "tests")),
    ],
    ids=str,
)
def test_parts_in_anybodys_words(
    tmp_path: Path, parts: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, *(f"{part}/{name}/0.png" for part in parts for name in ("cat", "dog")))
    pool = read(tmp_path)
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert pool.labels.tolist() == [0, 1] * 3
    assert pool.tested is not None
    assert pool.tested.tolist() == [False] * 4 + [True] * 2
    assert not said(caplog)


def test_domains_are_natural_clients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for domain in ("art", "photo", "sketch"):
        for name in ("dog", "horse"):
            lay(tmp_path / domain / name, *(f"{number}.png" for number in range(4)))
    found = load(tmp_path, Partition("natural"))
    assert found.label_counts().tolist() == [[4, 4]] * 3
    assert found.class_names == ("dog", "horse")
    assert "art, photo, sketch hold the same folders: each is read as a natural client" in said(
        caplog
    )


def test_domains_with_parts_of_their_own(tmp_path: Path) -> None:
    names = [f"{d}/{p}/{c}/0.png" for d in "ab" for p in ("train", "test") for c in ("x", "y")]
    pool = read(lay(tmp_path, *names))
    assert pool.class_names == ("x", "y")
    assert pool.clients is not None
    assert pool.clients.tolist() == [0] * 4 + [1] * 4
    assert pool.tested is not None
    assert pool.tested.tolist() == [False, False, True, True] * 2


def test_parts_with_domains(tmp_path: Path) -> None:
    names = [f"{p}/{d}/{c}/0.png" for p in ("train", "test") for d in "ab" for c in ("x", "y")]
    pool = read(lay(tmp_path, *names))
    assert pool.class_names == ("x", "y")
    assert pool.clients is not None
    assert pool.clients.tolist() == [0, 0, 1, 1] * 2


@pytest.mark.parametrize(
    "names",
    [
        ("cat/images/0.png", "dog/images/1.png"),
        ("cat/a/0.png", "cat/b/1.png", "dog/c/2.png"),
        ("cat/0.png", "cat/more/1.png", "dog/0.png"),
    ],
    ids=str,
)
def test_images_deeper_in_a_class(tmp_path: Path, names: tuple[str, ...]) -> None:
    pool = read(lay(tmp_path, *names))
    assert pool.class_names == ("cat", "dog")
    assert (len(pool), pool.clients) == (len(names), None)


def test_a_folder_around_it_all_is_gone_through(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, "my set/v1/cat/0.png", "my set/v1/dog/1.png")
    (tmp_path / "my set" / "readme.txt").write_text("")
    assert read(tmp_path).class_names == ("cat", "dog")
    assert said(caplog) == f"{tmp_path}: left out: 1 .txt"


def test_the_same_classes_once_more_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, "cat/0.png", "dog/1.png", "augmented/cat/2.png", "augmented/dog/3.png")
    assert len(read(tmp_path)) == 2
    assert said(caplog) == f"{tmp_path}: left out: 1 folder of the same classes (augmented)"


@pytest.mark.parametrize(
    "names",
    [
        ("images/0.png", "images/1.png"),
        ("Photos/0.png",),
        ("train/0.png", "test/1.png"),
        ("train/0.png",),
        ("train/images/0.png", "test/images/1.png"),
    ],
    ids=str,
)
def test_folders_that_are_no_classes_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    lay(tmp_path, *names)
    (tmp_path / "notes.xml").write_text("")
    with pytest.raises(DataError, match=r"and no folder for each class; with 1 \.xml; put the"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        *((".webp", "WEBP"), (".gif", "GIF"), (".bmp", "BMP"), (".tif", "TIFF")),
        *((".TIFF", "TIFF"), (".ppm", "PPM"), (".pgm", "PPM"), (".jfif", "JPEG")),
    ],
)
def test_images_of_other_kinds(tmp_path: Path, suffix: str, kind: str) -> None:
    assert suffix.lower() in SUFFIXES
    lay(tmp_path, "cat/0.png", "dog/1.png")
    (tmp_path / "bird").mkdir()
    Image.new("L", (4, 4), 100).save(tmp_path / "bird" / f"0{suffix}", kind)
    pool = read_class_folders(tmp_path)
    assert pool.class_names == ("bird", "cat", "dog")
    assert abs(int(pool.inputs[0].mean()) - 100) < 3
