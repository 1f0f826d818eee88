"""Folders with one file per client: PFLlib's pickled ones, real and hand-made."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.data import Partition, load
from edgeloop.errors import ConfigError, DataError
from tests import real_data


def har() -> Path:
    return real_data.place("har", "config.json")


def save(path: Path, x: Any, y: Any) -> None:
    """Save as PFLlib does: one pickled dict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # NumPy's stubs know only arrays here; it makes an object array of the dict, as PFLlib's does.
    np.savez_compressed(path, data=np.array({"x": x, "y": y}, dtype=object))


def folder(at: Path, shape: tuple[int, ...] = (2, 1, 3), dtype: str = "f4", **config: Any) -> Path:
    """Two clients with 3 training and 1 test samples each; values count from 0 over the folder."""
    at.mkdir(exist_ok=True)
    (at / "config.json").write_text(json.dumps({"num_clients": 2, "num_classes": 2, **config}))
    start = 0
    for client in range(2):
        for part, count in (("train", 3), ("test", 1)):
            size = count * int(np.prod(shape))
            x = np.arange(start, start + size).reshape(count, *shape).astype(dtype)
            save(at / part / f"{client}.npz", x, np.arange(count) % 2)
            start += size
    return at


def test_har_has_its_thirty_subjects() -> None:
    federation = load(har())
    sizes = federation.sizes()
    assert len(federation) == 30
    assert (sum(s[0] for s in sizes), sum(s[1] for s in sizes)) == (7715, 2584)
    assert (federation.shape, federation.pixels, federation.classes) == ((9, 1, 128), False, 6)
    assert (len(federation.client(3).train), len(federation.client(3).test)) == sizes[3]


def test_the_signal_layout_of_har_has_smooth_channels() -> None:
    stored = load(har()).client(0).train.inputs
    signal = load(har(), layout="signal").client(0).train.inputs
    assert np.array_equal(signal[5, 4, 0, :], stored[5].reshape(128, 9)[:, 4])
    assert np.abs(np.diff(signal)).mean() < 0.5 * np.abs(np.diff(stored)).mean()


@pytest.mark.parametrize("form", ["{part}{client}_", "{part}{client}", "{part}_{client}"])
@pytest.mark.parametrize("configured", [True, False])
def test_names_of_pfllibs_first_versions(tmp_path: Path, form: str, configured: bool) -> None:
    expected = load(folder(tmp_path))
    sizes, print_ = expected.sizes(), expected.fingerprint()
    for path in [*tmp_path.glob("train/*.npz"), *tmp_path.glob("test/*.npz")]:
        path.rename(path.with_stem(form.format(part=path.parent.name, client=path.stem)))
    if not configured:
        (tmp_path / "config.json").unlink()
    found = load(tmp_path)
    assert (found.sizes(), found.fingerprint(), found.classes) == (sizes, print_, 2)


def test_the_usual_name_goes_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = folder(tmp_path)
    save(place / "train" / "train0_.npz", np.zeros((9, 2, 1, 3), "f4"), np.zeros(9))
    assert load(place).sizes() == [(3, 1), (3, 1)]
    assert "left out: 1 .npz" in caplog.text


def test_a_folder_keeps_its_own_split(tmp_path: Path) -> None:
    federation = load(folder(tmp_path), Partition("natural"))
    assert federation.sizes() == [(3, 1), (3, 1)]
    client = federation.client(1)
    assert client.train.inputs.dtype == np.float32
    assert client.train.inputs.ravel().tolist() == list(range(24, 42))
    assert client.test.labels.tolist() == [0]
    assert federation.class_names == ("0", "1")
    assert load(tmp_path).partition is None


def test_the_signal_layout_restores_channels(tmp_path: Path) -> None:
    inputs = load(folder(tmp_path), layout="signal").client(0).train.inputs
    assert inputs.shape == (3, 2, 1, 3)
    assert inputs[0, :, 0].tolist() == [[0, 2, 4], [1, 3, 5]]


def test_another_partition_pools_the_clients_first(tmp_path: Path) -> None:
    federation = load(folder(tmp_path), Partition("iid", clients=1))
    order = np.random.RandomState(1).permutation(8)
    by_class = np.array([0, 2, 3, 4, 6, 7, 1, 5])  # train then test, client 0 first
    train = federation.client(0).train
    assert (train.inputs[:, 0, 0, 0] / 6).tolist() == by_class[order[2:]].tolist()


@pytest.mark.parametrize(
    ("dtype", "pixels", "first"), [("u1", True, -1), ("f8", False, 0), ("f2", False, 0)]
)
def test_other_types_are_read(tmp_path: Path, dtype: str, pixels: bool, first: float) -> None:
    federation = load(folder(tmp_path, (2, 3), dtype))
    assert federation.shape == (1, 2, 3)
    assert federation.pixels is pixels
    inputs = federation.client(0).train.inputs
    assert inputs.dtype == np.float32
    assert inputs.ravel()[0] == first


def test_a_device_needs_no_file_but_its_own(tmp_path: Path) -> None:
    federation = load(folder(tmp_path))
    (tmp_path / "train" / "0.npz").unlink()
    (tmp_path / "test" / "0.npz").write_bytes(b"not read")
    assert len(federation.client(1).train) == 3
    assert federation.shape == (2, 1, 3)
    assert load(tmp_path).shape == (2, 1, 3)


def test_the_fingerprint_is_that_of_the_files(tmp_path: Path) -> None:
    fingerprint = load(folder(tmp_path)).fingerprint()
    assert load(tmp_path).fingerprint() == fingerprint
    assert load(tmp_path, layout="signal").fingerprint() != fingerprint
    save(tmp_path / "test" / "1.npz", np.ones((1, 2, 1, 3), np.float32), np.array([1]))
    assert load(tmp_path).fingerprint() != fingerprint


@pytest.mark.parametrize("use", ["client", "sizes", "fingerprint"])
def test_a_missing_file_is_named(tmp_path: Path, use: str) -> None:
    federation = load(folder(tmp_path))
    (tmp_path / "train" / "1.npz").unlink()
    with pytest.raises(DataError, match=r"train.1\.npz: no such file"):
        federation.client(1) if use == "client" else getattr(federation, use)()


X = np.zeros((3, 2, 1, 3), np.float32)
Y = np.array([0, 1, 0])


@pytest.mark.parametrize(
    ("x", "y", "problem"),
    [
        (X, Y[:2], "3 inputs for labels of shape"),
        (X, Y + 1, "sample 1 has label 2, out of range for 2 classes"),
        (X, Y + 0.5, "sample 0 has label 0.5, which is no number of a class"),
        (X, Y * np.nan, "sample 0 has label nan"),
        (X, Y + np.uint64(2**63), "sample 0 has label 9.223372036854776e\\+18"),
        (X, np.eye(3), r"`y` is float64 of shape \(3, 3\).*one-hot"),
        (X.astype(int) + 2**24 + 1, Y, "`x` is int64, and sample 0 has a number above 16,777,216"),
        (X * np.nan, Y, "sample 0 holds a value that is not finite"),
        (X[:, :1], Y, r"inputs of shape \(1, 1, 3\), where another file has \(2, 1, 3\)"),
        (Path("x"), Y, "asks for pathlib"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, x: Any, y: Any, problem: str) -> None:
    federation = load(folder(tmp_path))
    federation.client(0)
    save(tmp_path / "train" / "1.npz", x, y)
    with pytest.raises(DataError, match=rf"train.1\.npz: .*{problem}"):
        federation.client(1)


def test_sizes_do_not_trust_labels(tmp_path: Path) -> None:
    save(folder(tmp_path) / "test" / "1.npz", X[:1], np.array([9]))
    with pytest.raises(DataError, match="label 9, out of range"):
        load(tmp_path).sizes()


def test_files_that_are_no_archives_are_named(tmp_path: Path) -> None:
    path = folder(tmp_path) / "train" / "0.npz"
    whole = path.read_bytes()
    damaged = whole[:60] + bytes(20) + whole[80:]
    for content in (b"", b"no zip", whole[: len(whole) // 2], damaged):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"0\.npz: not a readable"):
            load(tmp_path).client(0)


def test_members_that_are_no_samples_are_named(tmp_path: Path) -> None:
    path = folder(tmp_path) / "train" / "0.npz"
    np.savez(path, x=X)
    with pytest.raises(DataError, match="has no array `y`"):
        load(tmp_path).client(0)
    np.savez(path, data=X)
    with pytest.raises(DataError, match="`data` holds no pickled dict"):
        load(tmp_path).client(0)
    np.savez(path, x=X, y=np.array([None] * 3))
    with pytest.raises(DataError, match="an array of objects"):
        load(tmp_path).client(0)


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        (b"\x93NUMPZ\x01\x00", "a malformed array header"),
        (b"\x93NUMPY\x01\x00\x04\x00os()", "a malformed array header"),
        (b"{header}" + bytes(9), r"9 bytes for an array of shape \(3,\)"),
    ],
    ids=["magic", "expression", "short"],
)
def test_a_malformed_member_is_named(tmp_path: Path, member: bytes, problem: str) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(Y))
    path = folder(tmp_path) / "train" / "0.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("y.npy", member.replace(b"{header}", header.getvalue()))
    with pytest.raises(DataError, match=rf"0\.npz: {problem}"):
        load(tmp_path).sizes()


def test_a_member_that_unpacks_to_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeloop.data.archives.MEMBER_LIMIT", 100)
    with pytest.raises(DataError, match="above the limit of 100"):
        load(folder(tmp_path)).client(0)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"num_clients": 0}, "num_clients"),
        ({"num_clients": True}, "num_clients"),
        ({"num_classes": "2"}, "num_classes"),
        ({"class_names": ["a"]}, "class_names"),
        ({"class_names": "ab"}, "class_names"),
        ({"pixels": 1}, "pixels"),
        ({"partition": {"kinds": 1}}, "partition"),
    ],
)
def test_a_wrong_config_names_its_key(tmp_path: Path, config: Any, field: str) -> None:
    with pytest.raises(DataError) as caught:
        load(folder(tmp_path, **config))
    assert caught.value.field.endswith(f"config.json: {field}")


def test_a_config_that_is_no_object_is_named(tmp_path: Path) -> None:
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(DataError, match=r"config\.json: not"):
            load(tmp_path)


def test_layouts_are_checked(tmp_path: Path) -> None:
    wrong: Any = "sideways"
    with pytest.raises(ConfigError, match="layout: there is no 'sideways'"):
        load(folder(tmp_path), layout=wrong)
    with pytest.raises(DataError, match="no signals"):
        load(folder(tmp_path, (1, 2, 3)), layout="signal").client(0)


@pytest.mark.parametrize(
    "config", [{}, {"Size of samples for labels in clients": [[[0, 2], [1, 2]], [[0, 2], [1, 2]]]}]
)
def test_without_num_classes_the_labels_tell(
    tmp_path: Path, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """PFLlib's own shipped folder has none."""
    caplog.set_level("INFO")
    made = folder(tmp_path, num_classes=None, **config)
    assert load(made).classes == 2
    assert "has no num_classes: taking 2, as the labels say" in caplog.text


def test_a_config_with_a_byte_order_mark(tmp_path: Path) -> None:
    made = folder(tmp_path)
    path = made / "config.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert load(made).classes == 2


def without_classes(at: Path, **config: Any) -> Path:
    made = folder(at, **config)
    content = json.loads((made / "config.json").read_text())
    del content["num_classes"]
    (made / "config.json").write_text(json.dumps(content))
    return made


@pytest.mark.parametrize("statistic", ["?", [], [[[-1, 2]]], [[["a", 2]]], [[[10**9, 2]]]])
def test_a_statistic_that_tells_nothing_is_passed_over(tmp_path: Path, statistic: Any) -> None:
    made = without_classes(tmp_path / "x", **{"Size of samples for labels in clients": statistic})
    assert load(made).class_names == ("0", "1")


def test_the_statistic_needs_no_file(tmp_path: Path) -> None:
    """It knows classes that no file here has, and a device has its own files only."""
    counts = {"Size of samples for labels in clients": [[[0, 2]], [[4, 1]]]}
    made = without_classes(tmp_path / "x", **counts)
    for part in ("train", "test"):
        (made / part / "1.npz").unlink()
    federation = load(made)
    assert federation.classes == 5
    assert len(federation.client(0).train) == 3


def test_classes_that_nothing_tells_are_asked_for(tmp_path: Path) -> None:
    made = without_classes(tmp_path / "x")
    for file in made.glob("*/*.npz"):
        file.unlink()
    with pytest.raises(DataError, match="num_classes: is missing, and no file has a label"):
        load(made)
