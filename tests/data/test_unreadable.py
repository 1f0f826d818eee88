"""Sources that cannot be read, whole or in part: named in one sentence, and never waited for."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeloop.data import load
from edgeloop.data.brought import DeviceData, SampleSelection
from edgeloop.data.images import read_class_folders
from edgeloop.data.sources import layout_of, read
from edgeloop.errors import DataError
from tests.data.test_left_out import picture

NAMES, SHAPE = ("ok", "scratch"), (1, 4, 4)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        for number in range(8):
            picture(tmp_path / "photos" / name / f"{number}.png", number)
    return tmp_path / "photos"


def brought(photos: Path) -> int:
    """Return how many samples a device brings of a folder of photos."""
    data = DeviceData(SampleSelection(str(photos))).samples_for(NAMES, SHAPE).data
    return len(data.train) + len(data.test)


def spoil_half_written(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:45])


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_other(path: Path) -> None:
    path.write_text("<html>not found</html>")


def spoil_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


@pytest.mark.parametrize(
    "spoil", [spoil_half_written, spoil_empty, spoil_other, spoil_link], ids=lambda f: f.__name__
)
def test_a_photo_that_cannot_be_read_does_not_keep_a_device_away(
    spoil: object, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(spoil)
    spoil(photos / "scratch" / "3.png")
    spoil(photos / "ok" / "0.png")
    assert brought(photos) == 14
    (told,) = [each for each in caplog.messages if "left out" in each]
    assert told.startswith(
        f"{photos}: left out: 2 that cannot be read, such as {photos}/ok/0.png: "
    )
    assert "remove it" in told
    with pytest.raises(DataError, match=r"ok/0\.png: "):
        read_class_folders(photos)


def test_labels_stay_with_their_photos(photos: Path) -> None:
    spoil_half_written(photos / "ok" / "2.png")
    pool = read_class_folders(photos, sparing=True)
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5, 6, 7, *range(8)]
    assert pool.labels.tolist() == [0] * 7 + [1] * 8


def test_not_one_photo_that_can_be_read(photos: Path) -> None:
    for file in photos.glob("*/*.png"):
        spoil_empty(file)
    with pytest.raises(DataError, match=r"ok/0\.png: is empty"):
        brought(photos)


def test_a_pipe_is_not_waited_for(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    os.mkfifo(photos / "ok" / "new.png")
    (photos / "scratch" / "all.jpg").symlink_to("/dev/zero")
    assert brought(photos) == 16
    assert f"{photos}: left out: 2 no regular file" in caplog.messages


def test_photos_for_tests_alone_are_told(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = photos.parent / "all"
    folder.mkdir()
    photos.rename(folder / "test")
    assert brought(folder) == 16
    assert f"{folder}: has no part train beside test: its images are divided" in caplog.text


@pytest.fixture
def shut() -> Iterator[Path]:
    """A folder with a class that the user may not look into, even if it is root."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place, user = Path(folder), os.geteuid()
        picture(place / "ok" / "0.png")
        (place / "ok").chmod(0)
        place.chmod(0o755)
        if user == 0:
            os.seteuid(65534)
        yield place
        os.seteuid(user)
        (place / "ok").chmod(0o700)


def test_a_class_that_may_not_be_looked_into(shut: Path) -> None:
    for look in (layout_of, read, load, lambda place: DeviceData(SampleSelection(str(place)))):
        with pytest.raises(
            DataError, match=r"ok.*: cannot be read \(Permission denied\); let this"
        ):
            look(shut)


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(DataError, match=r"xxx: cannot be read \(File name too long\)"):
        read("x" * 300)


def test_no_name_is_not_the_folder_of_the_command(photos: Path) -> None:
    for look in (read, load, lambda name: DeviceData(SampleSelection(name))):
        with pytest.raises(DataError, match="data: is empty; name a file or a folder"):
            look("")


def test_a_label_that_is_an_id_is_no_number_of_a_class(tmp_path: Path) -> None:
    labels = pa.array([0, 1, 10**12])
    pq.write_table(pa.table({"image": [b"x"] * 3, "label": labels}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"goes to 1,000,000,000,000, and 100,000 classes are"):
        read(tmp_path)


def test_so_many_classes_have_no_names(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(f'{{"num_clients": 1, "num_classes": {10**12}}}')
    with pytest.raises(DataError, match=r"num_classes: 1,000,000,000,000 classes, and 100,000"):
        load(tmp_path)
