"""A task's base that is damaged in its folder or too large, and a state of many devices."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.aggregator import standing
from cloud.aggregator.agreement import load_base
from cloud.aggregator.settings import CohortSettings, TaskSettings
from cloud.generator_service.bases import repository
from edgeloop import algorithms
from edgeloop.bases import building, sending
from edgeloop.bases.manifest import GRAPH
from edgeloop.bases.recipe import BaseRecipe
from edgeloop.errors import BaseError
from edgeloop.gaussian import statistics
from edgeloop.gaussian.knowledge import HalfShares
from edgeloop.gaussian.statistics import HalfClassStatistics
from edgeloop.protocol import wire
from edgeloop.server_loop import RunState
from simulations.engine import checkpoint
from tests.bases.served import serving, write_base
from tests.world import contract

SHAPE = (1, 28, 28)
Wanted = Callable[..., TaskSettings]


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    def wanted(**changes: Any) -> TaskSettings:
        return TaskSettings(
            name="t",
            algorithm="class-statistics",
            class_names=("a", "b"),
            shape=SHAPE,
            rounds=1,
            folder=tmp_path / "task",
            cohort=CohortSettings(devices=("one",), give_up_seconds=0.4),
            **changes,
        )

    return wanted


def identity(settings: TaskSettings, begun: str | None = None) -> str:
    base = load_base(settings, begun)
    assert base is not None
    return base.identity


def damage(folder: Path) -> None:
    """Flip a bit of each base in a task's folder."""
    paths = list(folder.rglob(GRAPH))
    assert paths
    for path in paths:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def test_a_damaged_copy_of_a_named_base_is_made_again(wanted: Wanted, tmp_path: Path) -> None:
    begun = write_base(tmp_path / "base", shape=SHAPE)
    settings = wanted(base=str(tmp_path / "base"))
    assert identity(settings) == begun
    damage(settings.folder)
    assert identity(settings, begun) == begun
    assert identity(settings, begun) == begun
    damage(settings.folder)
    (tmp_path / "base").rename(tmp_path / "gone")
    with pytest.raises(BaseError, match="its SHA-256 is another"):  # nobody has it any more
        load_base(settings, begun)


def test_a_damaged_one_from_a_server_is_fetched_again(wanted: Wanted, tmp_path: Path) -> None:
    begun = write_base(tmp_path / "base", shape=SHAPE)
    repository.write(tmp_path / "base", tmp_path / "models", "faces", 1)
    with serving(tmp_path / "models") as root:
        settings = wanted(base=f"{root}/faces")
        assert identity(settings) == begun
        damage(settings.folder)
        assert identity(settings, begun) == begun
    assert identity(settings, begun) == begun


def test_a_damaged_one_is_not_replaced_by_its_servers_newer_one(
    wanted: Wanted, tmp_path: Path
) -> None:
    begun = write_base(tmp_path / "base", shape=SHAPE)
    newer = write_base(tmp_path / "newer", 2.0, SHAPE)
    assert newer != begun
    repository.write(tmp_path / "base", tmp_path / "models", "faces", 1)
    repository.write(tmp_path / "newer", tmp_path / "models", "faces", 2)
    with serving(tmp_path / "models") as root:
        settings = wanted(base=f"{root}/faces")
        assert identity(settings, begun) == begun
        damage(settings.folder)
        assert identity(settings, begun) == begun
    shutil.rmtree(tmp_path / "models")
    repository.write(tmp_path / "newer", tmp_path / "models", "faces", 2)
    with serving(tmp_path / "models", port=int(root.rpartition(":")[2])):
        damage(settings.folder)
        with pytest.raises(BaseError, match=r"no 'faces' that is the base the run began with"):
            identity(settings, begun)


def test_a_damaged_one_that_was_computed_is_computed_again(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "home"))
    small = BaseRecipe(filters=4, patch=5, dims=5, images=16)
    monkeypatch.setattr(building, "recipe_for", lambda shape, classes: small)
    begun = identity(wanted())
    damage(tmp_path / "task")
    assert identity(wanted(), begun) == begun


def test_a_base_that_no_device_would_take_is_refused(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_base(tmp_path / "base", shape=SHAPE)
    monkeypatch.setattr(sending, "LARGEST", 1000)
    with pytest.raises(BaseError, match=r"bytes large, and devices take 1,000 at most"):
        load_base(wanted(base=str(tmp_path / "base")))
    assert sending.LARGEST + 60_000 < wire.MAX_FRAME


def test_a_state_of_many_devices_is_read_however_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a share of each device: of some hundreds it is larger than any message."""
    dims = 6
    algorithm = algorithms.load("class-statistics", classes=4, dims=dims)
    triangle = np.triu_indices(dims)
    upload = HalfClassStatistics(
        np.arange(2),
        np.array([4, 4]),
        np.full((2, dims), 0.5, np.float16),
        (np.eye(dims)[triangle] + 0.25).astype(np.float16),
    )
    statistics.check(upload, 4)
    state, _ = algorithm.start()
    many = {f"device-{number:03}": upload for number in range(100)}
    stands = RunState(1, *algorithm.aggregate_uploads(state, many))
    task = contract(algorithm="class-statistics", class_names=tuple("abcd"), options={})
    frames = standing.frames(task, stands)
    limited = {**(wire.decode.__kwdefaults__ or {}), "limit": 4096}
    monkeypatch.setattr(wire.decode, "__kwdefaults__", limited)
    with pytest.raises(wire.WireError, match="at most 4096 are accepted"):
        wire.decode(frames[0], HalfShares, sizes=algorithm.sizes)
    found = standing.read(task, algorithm, 1, *frames)
    assert found is not None
    assert wire.fingerprint(found.broadcast) == wire.fingerprint(stands.broadcast)
    path = tmp_path / "state.frame"
    path.write_bytes(frames[0])
    kept = checkpoint._message(path, HalfShares, algorithm, 1)
    assert wire.fingerprint(kept) == wire.fingerprint(stands.state)
