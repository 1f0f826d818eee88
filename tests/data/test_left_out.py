"""What a reader leaves out is reported in one line, counted by kind."""

import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeloop.data.images import read_class_folders
from edgeloop.errors import DataError


def picture(path: Path, value: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        picture(tmp_path / name / "0.png")
    return tmp_path


def told(folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Read a folder; return what was said of it, without its name."""
    caplog.set_level(logging.WARNING)
    assert len(read_class_folders(folder)) == 2
    return "\n".join(each.getMessage().removeprefix(f"{folder}: ") for each in caplog.records)


def test_nothing_left_out_is_nothing_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert told(folder, caplog) == ""


def test_all_kinds_in_one_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        picture(folder / "bird" / f"{number}.heic")
    picture(folder / "cat" / "1.PSD")
    picture(folder / "loose.png")
    (folder / "dog" / "more").mkdir()
    (folder / "dog" / "more" / "0.xml").write_text("")
    (folder / "labels.csv").write_text("")
    (folder / "LICENSE").write_text("")
    (folder / "empty").mkdir()
    assert told(folder, caplog) == (
        "left out: 1 .csv, 3 .heic, 1 .png, 1 .psd, 1 .xml, 1 without a suffix,"
        " 2 folders without images (bird, empty)"
    )


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", ".git"])
def test_hidden_folders_are_no_class(
    name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(folder / name / "0.png")
    assert told(folder, caplog) == f"left out: 1 hidden folder ({name})"
    assert read_class_folders(folder).class_names == ("cat", "dog")


def test_hidden_files_are_no_images(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "cat" / "._0.png").write_bytes(b"\0\5\x16\7")
    (folder / ".DS_Store").write_bytes(b"")
    assert told(folder, caplog) == "left out: 2 hidden"


def test_parts_that_are_not_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for part, name in (("train", "cat"), ("test", "dog"), ("more", "cat"), ("extra", "dog")):
        picture(tmp_path / part / name / "0.png")
    assert told(tmp_path, caplog) == "left out: 2 folders beside train, test (extra, more)"


def test_a_class_may_be_called_train(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train", "bus"):
        picture(tmp_path / name / "0.png")
    assert told(tmp_path, caplog) == ""
    pool = read_class_folders(tmp_path)
    assert pool.class_names == ("bus", "train")
    assert pool.tested is None


def test_one_class_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "cat" / "0.png")
    picture(tmp_path / "cat" / "1.png")
    said = told(tmp_path, caplog)
    assert said.startswith("has one class only, cat")
    assert "nothing can be learned" not in said  # class statistics can


def test_many_folders_are_not_all_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        (folder / f"empty-{number}").mkdir()
    expected = "left out: 5 folders without images (empty-0, empty-1, empty-2, ...)"
    assert told(folder, caplog) == expected


def test_a_link_whose_target_is_gone_is_named(folder: Path) -> None:
    (folder / "cat" / "1.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"cat.1\.png: is a link to gone\.png, which cannot be"):
        read_class_folders(folder)


def test_a_link_that_was_written_as_text_is_named(folder: Path) -> None:
    """Archives and file systems without links leave a file with the path in it."""
    (folder / "cat" / "1.png").write_text("../gone/x.png")
    with pytest.raises(DataError, match=r"cat.1\.png: is a link to \.\./gone/x\.png that was"):
        read_class_folders(folder)


def test_an_unknown_layout_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "Training" / "cat").mkdir(parents=True)
    (tmp_path / "readme.md").write_text("")
    with pytest.raises(DataError, match=r"with 1 \.md, .* without images \(cat\);"):
        read_class_folders(tmp_path)


def test_the_images_themselves_are_as_before(folder: Path) -> None:
    picture(folder / "cat" / "1.png", 9)
    pool = read_class_folders(folder)
    assert pool.labels.tolist() == [0, 0, 1]
    assert np.unique(pool.inputs[1]).tolist() == [9]


def test_a_class_whose_name_is_not_utf8(folder: Path) -> None:
    """No message, summary or screen could name it."""
    try:
        picture(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9")) / "0.png")
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(DataError, match=r"class folder b'caf\\xe9' has a name that is not UTF-8"):
        read_class_folders(folder)
