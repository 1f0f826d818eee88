"""LEAF's JSON, made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.data import Partition, layout_of, load, read
from edgeloop.errors import DataError

Users = dict[str, tuple[list[Any], list[Any]]]


def write(path: Path, users: Users, changes: dict[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {name: {"x": x, "y": y} for name, (x, y) in users.items()},
        **(changes or {}),
    }
    path.write_text(json.dumps({name: each for name, each in content.items() if each is not None}))
    return path


def image(value: float) -> list[float]:
    return [value] * 784


def femnist(folder: Path) -> Path:
    first = {"f1": ([image(0.2), image(0.4)], [0, 1]), "f0": ([image(1.0)], [1])}
    write(folder / "train" / "all_data_0_niid_0_keep_0_train_9.json", first)
    write(folder / "train" / "all_data_1_niid_0_keep_0_train_9.json", {"f2": ([image(0)], [0])})
    write(
        folder / "test" / "all_data_0_niid_0_keep_0_test_9.json",
        {"f1": ([image(0.0039215686)], [1])},
    )
    return folder


def test_users_are_natural_clients_over_all_files(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = femnist(tmp_path / "femnist")
    (folder / "train" / "notes.txt").write_text("x")
    pool = read(folder)
    assert layout_of(folder).layout == "LEAF"
    assert (pool.shape, pool.pixels, pool.class_names) == ((1, 28, 28), True, ("0", "1"))
    assert pool.inputs.dtype == np.uint8
    assert pool.inputs[:, 0, 0, 0].tolist() == [51, 102, 255, 0, 1]
    assert pool.labels.tolist() == [0, 1, 1, 0, 1]
    assert pool.clients is not None
    assert pool.clients.tolist() == [1, 1, 0, 2, 1]
    assert pool.tested is not None
    assert pool.tested.tolist() == [False] * 4 + [True]
    assert "left out: 1 .txt" in caplog.text


def test_images_that_were_no_bytes_stay_as_they_are(tmp_path: Path) -> None:
    values = [-1.0, 0.25, 0.5, 3.0]
    for some in (values[1:3], values):
        users: Users = {"u": ([image(each) for each in some], [0] * len(some))}
        pool = read(write(tmp_path / "a.json", users))
        assert pool.inputs.dtype == np.float32
        assert pool.inputs[:, 0, 0, 0].tolist() == some


def test_a_file_or_a_folder_of_all_data_is_undivided(tmp_path: Path) -> None:
    users: Users = {f"u{n}": ([[n, 0.5, 1]] * 4, ["a", "b"] * 2) for n in range(3)}
    path = write(tmp_path / "all_data" / "all_data.json", users)
    for source in (path, path.parent):
        pool = read(source)
        assert (pool.shape, pool.class_names, pool.tested) == ((3,), ("a", "b"), None)
    assert load(path, Partition("natural")).sizes() == [(3, 1)] * 3


@pytest.mark.parametrize(
    ("users", "changes", "problem"),
    [
        ({"u": (["to be or not"], ["t"])}, {}, "user 'u': its samples are texts or names"),
        ({"u": ([["1", "a tweet"]], [0])}, {}, "user 'u': its samples are texts or names"),
        ({"u": ([[1, 2], [1]], [0, 1])}, {}, "user 'u': its samples are no numbers of one length"),
        ({"u": ([1, 2], [0, 1])}, {}, r"user 'u': `x` has shape \(2,\)"),
        ({"u": ([[1]], [0, 1])}, {}, "user 'u': has another number of samples"),
        ({"u": ([[1]], [[0]])}, {}, "user 'u': `y` holds no label for each"),
        ({"u": ([[1]], [0]), "v": ([[1, 2]], [0])}, {}, "'v' has samples of 2 numbers, and 'u' of"),
        ({"u": ([[1]], [0]), "v": ([[1]], ["a"])}, {}, "'v' and 'u' one has words"),
        ({"u": ([], [])}, {}, "no user has a sample"),
        ({"u": ([[1]], [0])}, {"users": ["w"]}, "`users` are not those"),
        ({"u": ([[1]], [0])}, {"num_samples": [2]}, "`num_samples` are not"),
        ({"u": ([[1]], [0])}, {"user_data": None}, "no table `user_data`"),
        ({"u": ([[1]], [0])}, {"user_data": {"u": {"x": []}}}, "user 'u': has no `x` and `y`"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, users: Users, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read(write(tmp_path / "train" / "a.json", users, changes).parents[1])


def test_what_is_cut_short_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"u": ([[1]], [0])})
    path.write_text(path.read_text()[:-4])
    with pytest.raises(DataError, match=r"a\.json: not JSON"):
        read(path)


def test_other_json_is_none_of_leafs(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="unknown layout"):
        read(tmp_path / "a.json")
