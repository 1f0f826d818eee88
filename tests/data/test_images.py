"""Readers of images: folders named after classes, and parquet files."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edgeloop.data import Partition, load, split
from edgeloop.data.images import read_class_folders
from edgeloop.data.parquet import read_parquet
from edgeloop.errors import DataError


def image(
    value: int, size: tuple[int, int] = (3, 2), mode: str = "RGB", kind: str = "PNG"
) -> bytes:
    colours: dict[str, Any] = {
        "L": value,
        "RGB": (value, 0, 255),
        "RGBA": (value, 0, 255, 9),
        **dict.fromkeys(("I;16", "I", "F"), value),
    }
    buffer = io.BytesIO()
    Image.new(mode, size, colours[mode]).save(buffer, kind)
    return buffer.getvalue()


def place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def table(path: Path, values: list[int], labels: Any, **columns: Any) -> None:
    cells = [{"bytes": image(value), "path": None} for value in values]
    pq.write_table(pa.table({"image": cells, "label": labels, **columns}), path)


def test_class_folders_are_numbered_by_name(tmp_path: Path) -> None:
    place(tmp_path / "dog" / "b.png", image(3))
    place(tmp_path / "dog" / "a.PNG", image(2))
    place(tmp_path / "dog" / "c.png", image(4, mode="L"))
    place(tmp_path / "cat" / "z.png", image(1, mode="L"))
    (tmp_path / "cat" / "notes.txt").write_text("ignored")
    pool = read_class_folders(tmp_path)
    assert pool.class_names == ("cat", "dog")
    assert pool.labels.tolist() == [0, 1, 1, 1]
    assert pool.inputs.shape == (4, 3, 2, 3)
    colours = [[1, 1, 1], [2, 0, 255], [3, 0, 255], [4, 4, 4]]
    assert pool.inputs[:, :, 0, 0].tolist() == colours


def test_train_comes_before_test_whatever_the_class(tmp_path: Path) -> None:
    place(tmp_path / "test" / "ant" / "0.png", image(9, mode="L"))
    place(tmp_path / "train" / "bee" / "0.png", image(8, mode="L"))
    pool = read_class_folders(tmp_path)
    assert pool.labels.tolist() == [1, 0]
    assert pool.inputs.shape == (2, 1, 2, 3)
    assert pool.inputs[:, 0, 0, 0].tolist() == [8, 9]


def test_jpeg_and_transparency_are_read_as_colours(tmp_path: Path) -> None:
    place(tmp_path / "a" / "0.jpeg", image(128, kind="JPEG"))
    place(tmp_path / "a" / "1.png", image(128, mode="RGBA"))
    assert read_class_folders(tmp_path).inputs[1, :, 1, 1].tolist() == [128, 0, 255]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (image(1, (4, 2)), r"has \(height, width\) \(2, 4\) where the first has \(2, 3\)"),
        (b"no image", "not a PNG, JPEG, .* image"),
        (image(1)[:45], "not a PNG, JPEG, .* image"),
        (
            image(1, mode="I;16"),
            r"has pixels of mode I;16: .*; store 8 bits a colour: 255 \(x - low",
        ),
        (image(1, mode="I;16", kind="TIFF"), "has pixels of mode I;16: 16 bits, of which few may"),
        (image(1, mode="I", kind="TIFF"), "has pixels of mode I: more than 8 bits, of which few"),
        (image(1, mode="F", kind="TIFF"), "has pixels of mode F: floating-point ones, whose white"),
    ],
    ids=["size", "bytes", "cut", "depth", "tiff of 16 bits", "tiff of 32 bits", "tiff of floats"],
)
def test_an_image_that_does_not_fit_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    place(tmp_path / "a" / "0.png", image(1))
    place(tmp_path / "b" / "1.png", content)
    with pytest.raises(DataError, match=rf"b.1\.png: {problem}"):
        read_class_folders(tmp_path)


def test_parquet_files_are_pooled_by_part(tmp_path: Path) -> None:
    table(tmp_path / "test-0.parquet", [6], [0])
    table(tmp_path / "validation-0.parquet", [5], [1])
    table(tmp_path / "train-1.parquet", [3, 4], [1, 2])
    table(tmp_path / "train-0.parquet", [1, 2], [0, 1])
    pool = read_parquet(tmp_path)
    assert pool.inputs[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert pool.labels.tolist() == [0, 1, 1, 2, 1, 0]
    assert pool.class_names == ("0", "1", "2")
    assert pool.clients is None


def test_a_column_of_parts_orders_the_rows(tmp_path: Path) -> None:
    rows = ["test", "val", "train", "test", "train"]
    table(tmp_path / "all.parquet", [1, 2, 3, 4, 5], [0] * 5, split=rows, client=list("abbba"))
    pool = read_parquet(tmp_path / "all.parquet")
    assert pool.inputs[:, 0, 0, 0].tolist() == [3, 5, 2, 1, 4]
    assert pool.clients is not None
    assert pool.clients.tolist() == [1, 0, 1, 0, 1]


def test_rows_of_one_part_keep_their_order(tmp_path: Path) -> None:
    table(tmp_path / "all.parquet", list(range(60)), [0] * 60, split=["test", "train"] * 30)
    order = read_parquet(tmp_path).inputs[:, 0, 0, 0].tolist()
    assert order == [*range(1, 60, 2), *range(0, 60, 2)]


def test_bytes_and_fine_labels_are_read_too(tmp_path: Path) -> None:
    cells = {"img": [image(7)], "coarse_label": [5], "fine_label": [0]}
    pq.write_table(pa.table(cells), tmp_path / "x.parquet")
    assert read_parquet(tmp_path).inputs[0, 0, 0, 0] == 7


@pytest.mark.parametrize("split_column", [False, True])
def test_only_drawn_samples_are_decoded(tmp_path: Path, split_column: bool) -> None:
    parts = {"split": ["test", "train", "train"] * 20} if split_column else {}
    table(tmp_path / "all.parquet", list(range(1, 61)), [0, 1] * 30, **parts)
    partition = Partition("iid", clients=2, samples=40)
    whole = split(read_parquet(tmp_path), partition)
    found = load(tmp_path, partition)
    assert found.fingerprint() == whole.fingerprint()
    for client in range(2):
        ours, theirs = found.shards(client), whole.shards(client)
        assert np.array_equal(ours.train.inputs, theirs.train.inputs)
        assert np.array_equal(ours.test.inputs, theirs.test.inputs)
    pool = read_parquet(tmp_path, wanted=lambda total: np.array([1, total - 1]))
    assert np.flatnonzero(pool.inputs[:, 0, 0, 0]).tolist() == [1, 59]
    assert pool.labels.tolist() == read_parquet(tmp_path).labels.tolist()


def test_a_damaged_image_matters_where_it_is_drawn(tmp_path: Path) -> None:
    cells = [image(1), b"no image", image(3)]
    pq.write_table(pa.table({"image": cells, "label": [0, 1, 0]}), tmp_path / "x.parquet")
    assert len(read_parquet(tmp_path, wanted=lambda _: np.array([0, 2]))) == 3
    with pytest.raises(DataError, match="row 1: not a PNG, JPEG, "):
        read_parquet(tmp_path, wanted=lambda _: np.array([1]))


def test_natural_clients_come_from_a_column(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", list(range(8)), [0, 1] * 4, subject=["u", "v"] * 4)
    federation = load(tmp_path, Partition("natural"))
    assert federation.label_counts().tolist() == [[4, 0], [0, 4]]


def test_class_names_come_with_the_data(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [1], [0])
    (tmp_path / "classes.json").write_text('["ant", "bee"]')
    assert read_parquet(tmp_path).class_names == ("ant", "bee")
    info = {"info": {"features": {"label": {"names": ["x", "y", "z"]}}}}
    plain = pq.read_table(tmp_path / "a.parquet")
    named = plain.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(named, tmp_path / "a.parquet")
    assert read_parquet(tmp_path).class_names == ("x", "y", "z")
    (tmp_path / "classes.json").write_text("{")
    pq.write_table(plain, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="class names cannot be read"):
        read_parquet(tmp_path)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"label": [0]}, "has no column of images that are there, of texts or of numbers"),
        ({"image": [image(1)]}, "has no column `label`"),
        ({"image": [image(1)], "label": [1.5]}, "`label` holds something else"),
        ({"image": [image(1)], "label": pa.array([None], pa.int64())}, "`label` holds something"),
        ({"image": ["a.png"], "label": [0]}, "row 0: `image` holds no bytes"),
        ({"image": [image(1)], "label": [-1]}, "row 0: `label` holds something"),
        ({"image": [b"?"], "label": [0]}, "row 0: not a PNG, JPEG, "),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "holds no rows"),
    ],
    ids=["image", "label", "text", "null", "path", "negative", "undecodable", "empty"],
)
def test_a_parquet_file_that_does_not_fit_is_named(
    tmp_path: Path, cells: Any, problem: str
) -> None:
    pq.write_table(pa.table(cells), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=problem):
        read_parquet(tmp_path)


def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table(path, list(range(50)), [0] * 50)
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.parquet: is damaged \(.*\); download it again"):
        read_parquet(path)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR0")
    with pytest.raises(DataError, match=r"x\.parquet: no parquet file"):
        read_parquet(tmp_path)


def test_a_label_above_the_named_classes_is_out_of_range(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [1], [2])
    (tmp_path / "classes.json").write_text('["ant", "bee"]')
    with pytest.raises(DataError, match="label 2, out of range for 2 classes"):
        read_parquet(tmp_path)


def test_shards_without_rows_add_nothing(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", [1, 2], [0, 1])
    empty = pq.read_table(tmp_path / "train-0.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "train-1.parquet")
    assert read_parquet(tmp_path).labels.tolist() == [0, 1]


@pytest.mark.parametrize("missing", [None, -1])
def test_a_missing_label_names_its_row(tmp_path: Path, missing: Any) -> None:
    table(tmp_path / "a.parquet", [1, 2, 3], [0, 1, 0])
    table(tmp_path / "b.parquet", [1, 2, 3], pa.array([0, 1, missing], pa.int64()))
    with pytest.raises(DataError, match=r"b\.parquet: row 2: `label` holds something else.*null"):
        read_parquet(tmp_path)


def test_a_missing_client_matters_where_clients_are_asked_for(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [1, 2, 3] * 9, [0, 1, 0] * 9, client=["a", "b", None] * 9)
    assert len(load(tmp_path, Partition("iid", clients=2, balanced=True))) == 2
    with pytest.raises(DataError, match=r"a\.parquet: row 2: `client` names nobody: null"):
        load(tmp_path, Partition("natural"))


def test_files_that_name_their_classes_otherwise_are_refused(tmp_path: Path) -> None:
    for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        path = tmp_path / f"train-{number}.parquet"
        table(path, [1, 2], [0, 1])
        info = json.dumps({"info": {"features": {"label": {"names": names}}}})
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": info}), path)
    with pytest.raises(DataError, match=r"train-1\.parquet: names its classes \('dog', 'cat'\)"):
        read_parquet(tmp_path)


def test_files_beside_parquet_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table(tmp_path / "train-0.parquet", [1], [0])
    (tmp_path / "more").mkdir()
    place(tmp_path / "a.png", image(1))
    read_parquet(tmp_path)
    expected = f"{tmp_path}: left out: 1 .png, 1 folder beside the files (more)"
    assert [each.getMessage() for each in caplog.records] == [expected]
