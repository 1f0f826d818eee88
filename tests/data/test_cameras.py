"""Camera traps as WILDS lays them out: which cameras are clients, in which order."""

from pathlib import Path
from typing import Any

import pytest

from edgeloop.data import Partition, layout_of, load, read
from edgeloop.errors import DataError
from tests.data.layouts import picture, place

HEAD = "split,location_remapped,y,filename,image_id"


def traps(folder: Path, rows: list[tuple[Any, ...]], head: str = HEAD) -> None:
    for value in range(3):
        place(folder / "train" / f"{value}.jpg", picture(100 * value, (6, 3)))
    lines = [head, *(",".join(map(str, row)) for row in rows)]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")


def camera(number: int, count: int, classes: list[int], split: str = "train") -> list[Any]:
    return [
        (split, number, classes[each % len(classes)], f"{each % 3}.jpg", each)
        for each in range(count)
    ]


def test_cameras_with_pictures_and_classes_enough_are_the_clients(tmp_path: Path) -> None:
    large, late = camera(7, 102, [3, 9, 181]), camera(2, 120, [0, 3, 9], "test")
    few, dull = camera(1, 100, [3, 9, 50]), camera(4, 300, [3, 40])
    unused = camera(7, 5, [60], "id_test")
    traps(tmp_path, [*late, *few, *large, *dull, *unused])
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "camera traps"
    assert pool.inputs.shape == (222, 3, 64, 64)
    assert pool.class_names == ("0", "3", "9", "181")
    assert pool.labels[:3].tolist() == [1, 2, 3]  # train comes before test
    assert pool.inputs[:3, 0, 0, 0].tolist() == [0, 100, 200]
    federation = load(tmp_path, Partition("natural"), image_size=4)
    assert federation.shape == (3, 4, 4)
    assert [sum(sizes) for sizes in federation.sizes()] == [120, 102]
    assert federation.label_counts()[0].tolist() == [40, 40, 40, 0]


def test_classes_have_the_names_of_the_categories(tmp_path: Path) -> None:
    traps(tmp_path, camera(0, 102, [0, 5, 6]))
    (tmp_path / "categories.csv").write_text("y,name\n0,empty\n5,lion\n9,bee\n")
    assert read(tmp_path, 2).class_names == ("empty", "lion", "6")


def test_plain_columns_and_a_folder_called_images_do(tmp_path: Path) -> None:
    rows = [row[1:] for row in camera(0, 102, [0, 1, 2])]
    traps(tmp_path, rows, "location,y,filename,image_id")
    (tmp_path / "train").rename(tmp_path / "images")
    assert len(read(tmp_path, 2)) == 102


@pytest.mark.parametrize(
    ("rows", "head", "problem"),
    [
        (camera(0, 100, [0, 1, 2]), HEAD, "no camera has more than 100 pictures of more than 2"),
        (camera(0, 102, [0, 1, 2]), HEAD.replace("y", "label"), "has no column `y`"),
        (camera(0, 102, [0, 1, 2]), HEAD.replace("filename", "f"), "has no column `filename`"),
        (camera(0, 102, [0, 1, 2]), HEAD.replace("location_", "l_"), "no column `location_remapp"),
        ([("train", "x", 1, "0.jpg", 0)], HEAD, "row 0: `y` is '1' and `location_remapped` 'x'"),
        ([("train", 1)], HEAD, "row 0: `y` is '' and"),
        ([], HEAD, "has no column `filename`"),
        ([("train", 1, y, "../metadata.csv", 0) for y in [1, 2, 3] * 40], HEAD, "no such file"),
        ([("train", 1, y, "9.jpg", 0) for y in [1, 2, 3] * 40], HEAD, r"9\.jpg: no such file; put"),
    ],
    ids=["few", "y", "filename", "location", "number", "short", "empty", "outside", "missing"],
)
def test_a_table_that_does_not_fit_is_named(
    tmp_path: Path, rows: list[Any], head: str, problem: str
) -> None:
    traps(tmp_path, rows, head)
    with pytest.raises(DataError, match=rf"metadata\.csv: .*{problem}"):
        read(tmp_path)


def test_a_table_in_another_encoding_is_named(tmp_path: Path) -> None:
    place(tmp_path / "metadata.csv", b"y,filename\n\xff\xfe\n")
    with pytest.raises(DataError, match="no table"):
        read(tmp_path)
