"""A person's own photos and tables, as phones, Windows and spreadsheets leave them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeloop import data
from edgeloop.data import Columns
from edgeloop.errors import DataError


def draw(folder: Path, names: Iterable[str], size: tuple[int, int] = (8, 8)) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 100, 50)).save(path, "PNG")


def test_a_table_may_name_its_images_as_windows_does(tmp_path: Path) -> None:
    draw(tmp_path, [f"photos/{number}.png" for number in range(4)])
    rows = "".join(f"photos\\{number}.png,{'ab'[number % 2]}\n" for number in range(4))
    (tmp_path / "labels.csv").write_text("path,label\n" + rows)
    pool = data.read(str(tmp_path))
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert pool.labels.tolist() == [0, 1, 0, 1]


def test_a_path_from_the_disk_of_windows_is_found_by_its_name(tmp_path: Path) -> None:
    draw(tmp_path, ["a.png", "b.png"])
    rows = 'C:\\Users\\me\\a.png,ok\n"C:\\Users\\me\\b.png",bad\n'
    (tmp_path / "labels.csv").write_text("path,label\n" + rows)
    pool = data.read(str(tmp_path), columns=Columns("label", "path"))
    assert [pool.class_names[label] for label in pool.labels] == ["ok", "bad"]


def test_a_name_with_a_backslash_in_it_is_that_name(tmp_path: Path) -> None:
    draw(tmp_path, ["x\\1.png", "1.png"])
    (tmp_path / "labels.csv").write_text("path,label\nx\\1.png,ok\n1.png,bad\n")
    pool = data.read(str(tmp_path))
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 1]


def test_an_archive_of_arrays_may_have_words_for_labels(tmp_path: Path) -> None:
    x = np.zeros((4, 6, 6), np.uint8)
    words = np.array([["dog"], ["cat"], ["dog"], ["cat"]])
    np.savez(tmp_path / "own.npz", x_train=x, y_train=words[:, 0], x_test=x, y_test=words)
    pool = data.read(str(tmp_path / "own.npz"))
    assert pool.class_names == ("cat", "dog")
    assert pool.labels.tolist() == [1, 0, 1, 0] * 2


@pytest.mark.parametrize(
    ("train", "test", "problem"),
    [
        (["a", ""], ["a", "b"], "sample 1 has an empty label"),
        (["a", "b"], [0, 1], "has words for labels in one part, and numbers in another"),
    ],
)
def test_words_that_name_no_class_are_refused(
    tmp_path: Path, train: list[object], test: list[object], problem: str
) -> None:
    x = np.zeros((2, 6, 6), np.uint8)
    y_train, y_test = np.array(train), np.array(test)
    np.savez(tmp_path / "own.npz", x_train=x, x_test=x, y_train=y_train, y_test=y_test)
    with pytest.raises(DataError, match=problem):
        data.read(str(tmp_path / "own.npz"))


def test_a_value_that_is_not_finite_is_found_in_its_file(tmp_path: Path) -> None:
    x = np.zeros((4, 6, 6), np.float32)
    x[3, 2, 2] = np.nan
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(4) % 2)
    with pytest.raises(DataError, match=r"own\.npz: sample 3 holds a value that is not finite"):
        data.read(str(tmp_path / "own.npz"))


def test_photos_of_a_phone_are_to_be_converted(tmp_path: Path) -> None:
    for name in ("ok/1.HEIC", "bad/2.HEIC"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DataError, match=r"with 2 \.heic.*; convert \.heic to JPEG or PNG"):
        data.read(str(tmp_path))


def test_photos_without_folders_want_folders_or_a_table(tmp_path: Path) -> None:
    draw(tmp_path, [f"{kind}.{number}.png" for kind in ("cat", "dog") for number in range(3)])
    with pytest.raises(
        DataError, match=r"with 6 \.png; put the images of each class into a folder"
    ):
        data.read(str(tmp_path))


def test_folders_within_domains_that_recur_are_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people, days, kinds = ("anna", "ben"), ("monday", "tuesday"), ("bad", "ok")
    names = [f"{one}/{day}/{kind}/1.png" for one in people for day in days for kind in kinds]
    draw(tmp_path, names)
    assert data.read(str(tmp_path)).class_names == days
    (said,) = [each for each in caplog.messages if "once more" in each]
    assert "the classes monday, tuesday hold the same folders once more: bad, ok" in said
    assert str(tmp_path / "anna") in said
    caplog.clear()
    assert data.read(str(tmp_path / "anna")).class_names == kinds
    assert not [each for each in caplog.messages if "once more" in each]


@pytest.mark.parametrize(
    ("tests", "classes"), [("sketch/", ("cat", "dog", "sketch")), ("", ("cat", "dog"))]
)
def test_a_part_without_domains_of_its_own(
    tests: str, classes: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trains = [f"train/{domain}/{kind}" for domain in ("art", "photo") for kind in ("cat", "dog")]
    places = [*trains, *(f"test/{tests}{kind}" for kind in ("cat", "dog"))]
    draw(tmp_path, [f"{place}/{number}.png" for place in places for number in range(2)])
    assert data.read(str(tmp_path)).class_names == classes
    assert not [each for each in caplog.messages if "once more" in each]


def test_an_empty_photo_is_called_so(tmp_path: Path) -> None:
    draw(tmp_path, ["ok/1.png", "bad/1.png"])
    (tmp_path / "ok/2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"ok/2\.png: is empty; repair or remove it"):
        data.read(str(tmp_path))
