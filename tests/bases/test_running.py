"""A base's file, and what is no base."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from edgeloop import bases
from edgeloop.bases import manifest
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError
from tests.bases.tiny import DIMS, tiny_base, tiny_graph

SHAPE = (1, 4, 4)


def inputs(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *SHAPE)).astype(np.float32)


def test_features_do_not_depend_on_what_else_is_asked() -> None:
    whole = tiny_base(SHAPE).features(inputs(150))
    alone = np.concatenate([tiny_base(SHAPE).features(inputs(150)[i : i + 1]) for i in range(150)])
    assert np.abs(whole - alone).max() < 1e-6
    assert tiny_base(SHAPE).features(inputs(0)).shape == (0, DIMS)


def test_features_are_remembered_and_cannot_be_changed() -> None:
    base = tiny_base(SHAPE)
    first = base.features(inputs())
    assert base.features(inputs().copy()) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    for count in range(6, 12):
        base.features(inputs(count))
    assert base.features(inputs()) is not first  # they were forgotten


def test_it_goes_to_other_processes() -> None:
    base = tiny_base(SHAPE)
    other = pickle.loads(pickle.dumps(base))  # noqa: S301 - as our own workers do
    assert other.identity == base.identity
    assert (other.features(inputs()) == base.features(inputs())).all()


def test_variances() -> None:
    assert (tiny_base(SHAPE).variances_D == 1).all()
    told = Base(tiny_graph(SHAPE, 3, variances=[1, 2, 3]))
    assert told.variances_D.tolist() == [1, 2, 3]


@pytest.mark.parametrize("wrong", [[1, 2], [1, 2, -1], [0, 0, 0], "1 2 3", [1, 2, None], {}])
def test_variances_that_are_none(wrong: object) -> None:
    with pytest.raises(BaseError, match="no 3 numbers"):
        Base(tiny_graph(SHAPE, 3, variances=wrong))


@pytest.mark.parametrize(
    "graph",
    [
        b"",
        b"no graph",
        tiny_graph(SHAPE)[:-20],
        tiny_graph(SHAPE, names=("images", "features")),
        tiny_graph(SHAPE, names=("inputs", "scores")),
        tiny_graph(SHAPE, kind="Stranger"),
    ],
)
def test_what_is_no_base(graph: bytes) -> None:
    with pytest.raises(BaseError, match=r"base: .*; (build|import) "):
        Base(graph)


def test_inputs_of_another_shape() -> None:
    with pytest.raises(BaseError, match=r"reads inputs of \(1, 4, 4\), these are \(3, 4, 4\)"):
        tiny_base(SHAPE).features(np.zeros((2, 3, 4, 4), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_features_that_are_no_usable_numbers(bad: float) -> None:
    batch = inputs()
    batch[3] = bad
    with pytest.raises(BaseError, match="input 3 has features that are NaN, infinite or above"):
        tiny_base(SHAPE).features(batch)


def written(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True)
    fields = {"name": "tiny", "shape": SHAPE, "dims": DIMS, **changes}
    manifest.write(folder, tiny_graph(SHAPE), **fields)
    return folder


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    folder = written(tmp_path / "own")
    assert Base.read(bases.folder_of(str(folder))).identity == manifest.digest(tiny_graph(SHAPE))
    stored = written(bases.store() / "mine")
    assert bases.folder_of("mine") == stored
    with pytest.raises(BaseError, match="there is no base 'other'; see `edgeloop base list`"):
        bases.folder_of("other")
    with pytest.raises(BaseError, match="no base"):
        bases.folder_of("x" * 5000)


def test_folders_that_hold_none(tmp_path: Path) -> None:
    with pytest.raises(BaseError, match=r"holds no base.json"):
        Base.read(tmp_path)
    folder = written(tmp_path / "one", dims=DIMS + 1)
    with pytest.raises(BaseError, match="its manifest differs"):
        Base.read(folder)
    facts = json.loads((folder / "base.json").read_text())
    for change in ({"dims": 0}, {"colour": 1}, {"sha256": "0"}):
        (folder / "base.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises(BaseError, match=f"{next(iter(change))}.*; build or fetch it again"):
            Base.read(folder)
    (folder / "base.json").write_text(json.dumps(facts))
    (folder / "features.onnx").unlink()
    with pytest.raises(BaseError, match=r"holds no features.onnx that can be read"):
        Base.read(folder)
