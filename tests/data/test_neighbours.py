"""Inputs as people have them, near those that are read already: read rightly, or said."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from edgeloop.data import Columns, Partition, layout_of, load, read
from edgeloop.errors import DataError
from tests.data.test_class_layout import lay, said
from tests.data.test_left_out import picture
from tests.data.test_pfllib import save
from tests.data.test_tables import table

TWO = Partition("iid", clients=1, balanced=True)


def clients(at: Path, x: NDArray[Any], y: NDArray[Any], **config: Any) -> Path:
    """One client with these samples, for training and for tests."""
    for part in ("train", "test"):
        save(at / part / "0.npz", x, y)
    if config:
        (at / "config.json").write_text(json.dumps(config))
    return at


def test_a_link_that_leads_back_up_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, "cat/0.png", "cat/deep/1.png", "dog/2.png")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    assert read(tmp_path).labels.tolist() == [0, 0, 1]
    assert "1 folder that is a link to one above (loop)" in said(caplog)


@pytest.mark.parametrize("beside", ["attributes/x.txt", "labels/0.txt"])
def test_images_beside_folders_of_other_things(tmp_path: Path, beside: str) -> None:
    """CUB's and YOLO's."""
    lay(tmp_path, "images/001.Gull/0.png", "images/002.Tern/1.png")
    (tmp_path / beside).parent.mkdir()
    (tmp_path / beside).write_text("0")
    assert read(tmp_path).class_names == ("001.Gull", "002.Tern")


def test_folders_that_a_table_contradicts_are_no_classes(tmp_path: Path) -> None:
    """HAM10000's."""
    lay(tmp_path, *(f"part_{1 + number // 2}/{number}.png" for number in range(4)))
    path = table(tmp_path / "meta.csv", "image_id,dx", *(f"{n},{'ab'[n % 2]}" for n in range(4)))
    with pytest.raises(DataError, match=r"meta\.csv: has no column of labels; .*image_id, dx"):
        read(tmp_path)
    assert read(tmp_path, columns=Columns(label="dx")).labels.tolist() == [0, 1, 0, 1]
    table(path, "image_id,folder", *(f"{n},{10 + n // 2}" for n in range(4)))
    assert read(tmp_path).class_names == ("part_1", "part_2")
    path.write_bytes(b"\xff\xfe")
    assert layout_of(tmp_path).layout == "class folders"


def test_classes_that_differ_in_capitals_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay(tmp_path, "train/Cat/0.png", "train/dog/1.png", "test/cat/2.png", "test/dog/3.png")
    assert len(read(tmp_path).class_names) == 3
    assert "classes differ only in capitals or blanks: Cat, cat" in said(caplog)


@pytest.mark.parametrize(
    ("shape", "largest", "problem"),
    [
        ((3, 8, 8), 255, "its images have values up to 255"),
        ((1, 9, 20), 1, "is read as images of one colour, 9 x 20; store windows of sensors"),
        ((1, 8, 8), 1, ""),
        ((9, 1, 64), 255, ""),
    ],
)
def test_what_samples_look_like_is_said(
    tmp_path: Path,
    shape: tuple[int, ...],
    largest: int,
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    x = np.full((4, *shape), largest, np.float32)
    load(clients(tmp_path, x, np.arange(4) % 2)).client(0)
    warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == bool(problem)
    assert problem in "".join(warnings)


def test_slices_are_no_colours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    volumes = np.zeros((2, 28, 28, 28), np.uint8)
    np.savez(tmp_path / "organs.npz", x=volumes, y=np.array([0, 1]))
    read(tmp_path / "organs.npz")
    assert "is read as images of 28 colours" in said(caplog)


@pytest.mark.parametrize("names", [("X", "y"), ("data", "target"), ("arr_0", "arr_1")], ids=str)
def test_a_folder_with_one_file_of_arrays(tmp_path: Path, names: tuple[str, str]) -> None:
    arrays = (np.zeros((2, 6, 6), np.uint8), np.array([0, 1]))
    np.savez(tmp_path / "a.npz", **dict(zip(names, arrays, strict=True)))  # type: ignore[arg-type]
    assert read(tmp_path).shape == read(tmp_path / "a.npz").shape == (1, 6, 6)


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("cats.zip", b"PK", r"unpack cats\.zip"),
        ("state.arrow", b"ARROW1", "write hf:"),
        ("a.h5", b"", r"read \.h5 in Python, and give edgeloop\.simulate the arrays"),
        ("batches/data_batch_1.bin", b"", "cifar-10-batches-py"),
        ("t10k-images-idx3-ubyte", b"", "put the training images beside them"),
        ("mnist/train/0.npz", b"", r"name the folder of the clients' files: .*mnist"),
    ],
)
def test_what_to_do_about_what_is_not_read(
    tmp_path: Path, name: str, content: bytes, remedy: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"unknown layout.*{remedy}"):
        read(tmp_path)


def test_arrays_of_other_names_are_listed(tmp_path: Path) -> None:
    for name in ("imgs", "labels"):
        np.savez(tmp_path / f"{name}.npz", arr_0=np.zeros(2))
    with pytest.raises(DataError, match=r"imgs\.npz has arr_0"):
        read(tmp_path)
    with pytest.raises(DataError, match="x_train, y_train, x_test and y_test"):
        read(tmp_path / "imgs.npz")


def test_tensors_in_a_clients_file_are_called_so(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(DataError, match=r"holds torch tensors .*; if you made it, store x\.numpy"):
        load(clients(tmp_path, torch.zeros(2, 1, 4, 4), torch.zeros(2))).client(0)


def test_the_number_of_classes_may_be_what_is_wrong(tmp_path: Path) -> None:
    x, y = np.zeros((3, 1, 4, 4), np.float32), np.arange(3)
    source = clients(tmp_path, x, y, num_clients=1, num_classes=2)
    with pytest.raises(DataError, match=r"label 2, out of range .* or correct num_classes in conf"):
        load(source).client(0)


def test_every_file_of_a_divided_folder_is_checked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = clients(tmp_path, np.zeros((2, 1, 4, 4), np.float32), np.array([0, 2]))
    load(source).check()
    assert "no client has a sample of 1 of 3 classes: 1" in said(caplog)
    for part in ("train", "test"):
        save(source / part / "1.npz", np.zeros((2, 3, 4, 4), np.float32), np.array([0, 2]))
    with pytest.raises(DataError, match=r"1\.npz: inputs of shape \(3, 4, 4\), where another"):
        load(source).check()


def test_a_class_without_samples_is_nobodys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """UCI HAR's, PAMAP2's and EMNIST's classes are known before the samples are."""
    x, y = np.zeros((40, 1, 4, 4), np.uint8), 2 * (np.arange(40) % 2)
    shares = load(clients(tmp_path, x, y), Partition("iid", clients=2))
    assert shares.label_counts().sum(axis=0).tolist() == [40, 0, 40]
    assert "no client has a sample of 1 of 3 classes: 1" in said(caplog)


def test_texts_and_numbers_in_parquet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """AG News and others on the hub."""
    features = {
        "text": {"_type": "Value"},
        "label": {"_type": "ClassLabel", "names": ["no", "yes"]},
    }
    texts = pa.table({"text": ["a good film", "bad", "good", "?"], "label": [1, 0, 1, -1]})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(texts.replace_schema_metadata(metadata), tmp_path / "train-0.parquet")
    pool = read(tmp_path)
    assert (pool.class_names, pool.labels.tolist()) == (("no", "yes"), [1, 0, 1])
    assert pool.inputs[0, 1] == pool.inputs[2, 0]
    assert "train-0.parquet: left out: 1 row without a label" in said(caplog)
    numbers = pa.table({"a": [0.5, 1.5], "b": [True, False], "species": ["x", "y"]})
    pq.write_table(numbers, tmp_path / "flowers.parquet")
    assert read(tmp_path / "flowers.parquet").inputs.tolist() == [[0.5, 1], [1.5, 0]]


def test_a_parquet_file_that_git_did_not_fetch(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid 1\n")
    with pytest.raises(DataError, match="is a pointer of Git LFS, and not the file; fetch it"):
        read(tmp_path)


def test_labels_in_lists_of_one(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", 1)
    image = (tmp_path / "0.png").read_bytes()
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [image, image], "label": [[1], [0]]}), path)
    assert read(path).labels.tolist() == [1, 0]
    pq.write_table(pa.table({"image": [image, image], "label": [[1], [0, 1]]}), path)
    with pytest.raises(DataError, match="row 1: `label` has 2 labels; choose a column with one"):
        read(path)


def test_a_cell_that_lists_an_images_pixels(tmp_path: Path) -> None:
    """FER2013's."""
    rows = [f'{n % 2},"{" ".join([str(n)] * 64)}",{use}' for n, use in
            enumerate(("Training", "Training", "PublicTest", "PrivateTest"))]  # fmt: skip
    path = table(tmp_path / "fer.csv", "emotion,pixels,Usage", *rows)
    pool = read(path)
    assert (pool.shape, pool.pixels) == ((1, 8, 8), True)
    assert pool.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert pool.tested is not None
    assert pool.tested.tolist() == [False, False, False, True]
    table(path, "emotion,pixels,Usage", rows[0], '1,"1 2 3",Training')
    with pytest.raises(DataError, match="row 1: `pixels` is no image of 8 x 8 bytes"):
        read(path)


@pytest.mark.parametrize(
    ("heading", "row", "problem"),
    [
        ("5.1,3.5,1.4,setosa", "4.9,3.0,1.4,setosa", "has no heading: its first row is 5.1"),
        ("a;b;label", "1,5;2,5;x", "has decimal commas; write numbers with points"),
        ("id,healthy,rust", "1,0,1", "if each class has a column, make one column"),
    ],
)
def test_tables_that_cannot_be_read_say_why(
    tmp_path: Path, heading: str, row: str, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read(table(tmp_path / "a.csv", heading, row, row))


def test_a_heading_that_counts_its_columns(tmp_path: Path) -> None:
    heading = ",".join(["label", *map(str, range(64))])
    rows = [",".join([str(n), *["7"] * 64]) for n in range(2)]
    assert read(table(tmp_path / "a.csv", heading, *rows)).shape == (1, 8, 8)


def test_mnist_without_a_heading(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [",".join([str(n), *[str(200 + n)] * 64]) for n in (3, 0, 3)]
    pool = read(table(tmp_path / "mnist_train.csv", *rows))
    assert (pool.class_names, pool.labels.tolist()) == (("0", "3"), [1, 0, 1])
    assert pool.inputs[:, 0, 0, 0].tolist() == [203, 200, 203]
    assert "has no heading: the first of its 65 columns is read as labels" in said(caplog)


def test_har_as_the_archive_unpacks(tmp_path: Path) -> None:
    base = tmp_path / "human+activity+recognition" / "UCI HAR Dataset"
    for part in ("train", "test"):
        (base / part).mkdir(parents=True)
        (base / part / f"y_{part}.txt").write_text("1\n")
    assert layout_of(tmp_path).layout == "UCI HAR"


def test_a_zip_bomb_in_a_folder_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, bytes(2**27))
    with pytest.raises(DataError, match=r"unpacks to 0\.1 GiB"):
        read(tmp_path)
