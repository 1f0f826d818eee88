"""Folders with one file per client as other programs write them, and what is wrong with some."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.data import is_divided, load
from edgeloop.errors import DataError
from tests.data.test_pfllib import folder, save

Y = np.array([0, 1, 0])
IMAGES = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(3, 1, 8, 8)


def one(at: Path, x: Any, y: Any = Y, **config: Any) -> Path:
    """One client, whose two files are alike."""
    at.mkdir(exist_ok=True)
    (at / "config.json").write_text(json.dumps({"num_clients": 1, "num_classes": 2, **config}))
    for part in ("train", "test"):
        save(at / part / "0.npz", x, y)
    return at


def train(source: Path) -> Any:
    return load(source).client(0).train


def listed(values: Any) -> Any:
    """Lists of numbers in lists, as a pickle of plain Python has them."""
    return values.tolist()


@pytest.mark.parametrize("rows", [list, listed, tuple], ids=["arrays", "numbers", "tuple"])
def test_inputs_may_be_a_list_of_rows(tmp_path: Path, rows: Any) -> None:
    x = np.linspace(-1, 1, 36, dtype=np.float32).reshape(3, 3, 2, 2)
    found = train(one(tmp_path, rows(x), [0, 1, 0]))
    assert np.allclose(found.inputs, x)
    assert found.labels.tolist() == [0, 1, 0]


def test_rows_of_several_shapes_are_named(tmp_path: Path) -> None:
    rows = [np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), np.zeros((1, 2, 2))]
    with pytest.raises(DataError, match=r"0\.npz: .*row 1 has shape \(1, 2, 3\), row 0 \(1, 2, 2"):
        train(one(tmp_path, rows))


@pytest.mark.parametrize("kind", ["tuples", "lists", "arrays", "table"])
def test_texts_are_ids_and_their_lengths_are_dropped(tmp_path: Path, kind: str) -> None:
    ids = [[5, 6, 0, 0], [7, 0, 0, 0], [8, 9, 10, 0]]
    lengths = [2, 1, 3]
    pairs: Any = list(zip(ids, lengths, strict=True))
    if kind == "lists":
        pairs = [list(pair) for pair in pairs]
    if kind == "arrays":
        pairs = [(np.array(row), np.int64(length)) for row, length in pairs]
    if kind == "table":
        pairs = np.array([[np.array(row), length] for row, length in pairs], dtype=object)
    found = load(one(tmp_path, pairs))
    assert (found.shape, found.pixels) == ((4,), False)
    assert found.client(0).train.inputs.tolist() == ids


def test_whole_numbers_are_read_where_floats_hold_them(tmp_path: Path) -> None:
    ids = np.array([[1, 2**24], [3, 4], [5, 6]])
    assert train(one(tmp_path, ids)).inputs.tolist() == ids.tolist()


@pytest.mark.parametrize(
    "y",
    [
        Y.astype(float),
        Y.astype(np.float32),
        Y.astype(np.uint64),
        Y.astype(np.int8),
        Y.astype(bool),
        Y[:, np.newaxis],
        [[0.0], [1.0], [0.0]],
        [0, 1, 0],
    ],
    ids=str,
)
def test_labels_of_any_whole_type(tmp_path: Path, y: Any) -> None:
    federation = load(one(tmp_path, IMAGES, y))
    assert federation.client(0).test.labels.tolist() == [0, 1, 0]
    assert federation.label_counts("train").tolist() == [[2, 1]]


@pytest.mark.parametrize("empty", [np.array([]), np.zeros((0, 2, 1, 3)), []], ids=repr)
def test_a_part_without_samples_is_empty(tmp_path: Path, empty: Any) -> None:
    made = folder(tmp_path)
    save(made / "test" / "1.npz", empty, np.array([]))
    save(made / "train" / "0.npz", empty, [])
    federation = load(made)
    assert federation.shape == (2, 1, 3)
    assert federation.sizes() == [(0, 1), (3, 0)]
    assert federation.client(1).test.inputs.shape == (0, 2, 1, 3)
    assert load(made, layout="signal").client(1).test.inputs.shape == (0, 2, 1, 3)


def test_a_folder_without_one_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no client has a sample"):
        _ = load(one(tmp_path, [], [])).shape


def test_labels_without_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0\.npz: 0 inputs for labels of shape \(3,\)"):
        train(one(tmp_path, []))


@pytest.mark.parametrize("channels_last", [False, True])
def test_windows_of_sensors_in_both_orders(tmp_path: Path, channels_last: bool) -> None:
    x = np.arange(3 * 9 * 64, dtype=np.float32).reshape(3, 9, 64)
    federation = load(one(tmp_path, x.transpose(0, 2, 1) if channels_last else x))
    assert (federation.shape, federation.pixels) == ((9, 1, 64), False)
    assert np.array_equal(federation.client(0).train.inputs[:, :, 0], x)


@pytest.mark.parametrize("shape", [(28, 28), (40, 101)])
def test_images_of_one_colour_stay_images(tmp_path: Path, shape: tuple[int, int]) -> None:
    federation = load(one(tmp_path, np.zeros((3, *shape), np.float32)))
    assert (federation.shape, federation.pixels) == ((1, *shape), True)


@pytest.mark.parametrize("kind", ["u1", "f4"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_are_last_are_refused(tmp_path: Path, kind: str, channels: int) -> None:
    made = one(tmp_path, np.zeros((3, 8, 8, channels), kind))
    with pytest.raises(DataError, match=r"0\.npz: .*channels seem to be last.*transpose\(0, 3, 1"):
        load(made).client(0)


def test_sensors_that_look_alike_are_not_refused(tmp_path: Path) -> None:
    assert load(one(tmp_path, np.zeros((3, 9, 3, 256), np.float32))).shape == (9, 3, 256)


@pytest.mark.parametrize("config", ["none", "empty", "foreign"])
def test_files_alone_tell_how_many_clients_and_classes(tmp_path: Path, config: str) -> None:
    made = folder(tmp_path)
    text = {"empty": "{}", "foreign": '{"model_type": "resnet"}'}.get(config)
    (made / "config.json").unlink()
    if text:
        (made / "config.json").write_text(text)
    assert is_divided(made)
    federation = load(made)
    assert (len(federation), federation.classes) == (2, 2)


def test_the_config_of_another_program_divides_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    assert not is_divided(tmp_path)


def test_files_of_no_client_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = folder(tmp_path)
    save(made / "train" / "2.npz", IMAGES, Y)
    (made / "test" / "notes.txt").write_text("")
    load(made)
    assert [each.getMessage() for each in caplog.records] == [f"{made}: left out: 1 .npz, 1 .txt"]


def test_what_packs_too_well_is_not_unpacked(tmp_path: Path) -> None:
    """A file of 70 KB would take 0.5 GB: its zeros are nobody's samples."""
    made = one(tmp_path, IMAGES)
    path = made / "train" / "0.npz"
    header = {"descr": "|u1", "fortran_order": False, "shape": (70_000, 1, 32, 32)}
    packed = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with packed as archive, archive.open("x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(70):
            file.write(bytes(1_000 * 1_024))
    assert path.stat().st_size < 200_000
    with pytest.raises(DataError, match=r"0\.npz: `x\.npy` unpacks to 0\.1 GiB, 1\d+ times"):
        load(made).client(0)


def test_what_has_no_room_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = one(tmp_path, IMAGES)
    monkeypatch.setattr("os.sysconf", lambda name: 8)  # 64 bytes
    with pytest.raises(DataError, match=r"unpacks to 0\.0 GiB, and this machine has 0\.0"):
        load(made).client(0)
