"""What a reader leaves out is counted by kind and said in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeloop.data import Partition, load
from edgeloop.errors import DataError

IID = Partition("iid", clients=1)


def picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)


def two_classes(folder: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(6):
            picture(folder / name / f"{number}.png", number)


def test_nothing_left_out_is_not_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_classes(tmp_path)
    assert load(tmp_path, IID).class_names == ("cat", "dog")
    assert caplog.text == ""


def test_files_and_folders_by_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_classes(tmp_path)
    for name in ("cat/a.gif", "cat/b.gif", "dog/c.webp", "README", ".DS_Store"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "bird").mkdir()
    picture(tmp_path / ".ipynb_checkpoints" / "0.png")
    picture(tmp_path / "__MACOSX" / "0.png")
    picture(tmp_path / "dog" / "more" / "0.png")
    assert load(tmp_path, IID).class_names == ("cat", "dog")
    (said,) = [each for each in caplog.messages if "left out" in each]
    for words in (
        *("2 .gif", "1 .webp", "1 without a suffix", "1 hidden", "1 folder without images (bird)"),
        *("1 folder within a class (more)", "2 hidden folders (.ipynb_checkpoints, __MACOSX)"),
    ):
        assert words in said


def test_what_lies_beside_parts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "extra")
    load(tmp_path, IID)
    assert "1 folder beside train (extra)" in caplog.text


def test_a_class_called_train(tmp_path: Path) -> None:
    for name in ("train", "boat"):
        for number in range(6):
            picture(tmp_path / name / f"{number}.png", number)
    assert load(tmp_path, IID).class_names == ("boat", "train")


def test_one_class_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(6):
        picture(tmp_path / "cat" / f"{number}.png", number)
    load(tmp_path, IID)
    assert "has one class only, cat" in caplog.text


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png: is a link to .*nowhere\.png, which cannot"):
        load(tmp_path, IID)
