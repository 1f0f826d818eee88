"""Folders we write: they load back bit for bit, or are not there at all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.data import Federation, Partition, Pool, load, split, write
from edgeloop.errors import ConfigError, RunError

PARTITION = Partition("dirichlet", clients=3, alpha=2.0, seed=4)


def pooled(dtype: Any, shape: tuple[int, ...] = (3, 2, 2)) -> Federation:
    values = np.random.RandomState(0).randint(0, 255, (60, *shape)).astype(dtype)
    return split(Pool(values, np.arange(60) % 3, ("cat", "dog", "owl")), PARTITION)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_was_written_loads_back_bit_for_bit(tmp_path: Path, dtype: Any) -> None:
    federation = pooled(dtype)
    loaded = load(write(federation, tmp_path / "new" / "folder"))
    assert loaded.class_names == federation.class_names
    assert loaded.pixels == federation.pixels
    assert loaded.shape == federation.shape
    assert loaded.partition == PARTITION
    assert loaded.sizes() == federation.sizes()
    for client in range(3):
        before, after = federation.shards(client), loaded.shards(client)
        for part in ("train", "test"):
            old, new = getattr(before, part), getattr(after, part)
            assert new.inputs.dtype == dtype
            assert np.array_equal(new.inputs, old.inputs)
            assert np.array_equal(new.labels, old.labels)


def test_the_same_federation_gives_the_same_bytes(tmp_path: Path) -> None:
    first = load(write(pooled(np.uint8), tmp_path / "a"))
    assert load(write(pooled(np.uint8), tmp_path / "b")).fingerprint() == first.fingerprint()


def test_the_config_says_what_pfllib_reads_and_where_it_came_from(tmp_path: Path) -> None:
    federation = pooled(np.uint8)
    config = json.loads((write(federation, tmp_path) / "config.json").read_text())
    assert (config["num_clients"], config["num_classes"]) == (3, 3)
    counts = config["Size of samples for labels in clients"]
    assert counts[0] == [[k, int(n)] for k, n in enumerate(federation.label_counts()[0]) if n]
    assert config["fingerprint"] == federation.fingerprint()
    assert config["partition"]["alpha"] == 2.0


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("here first")
    with pytest.raises(RunError, match="exists and is not empty"):
        write(pooled(np.uint8), tmp_path)
    with pytest.raises(RunError, match="exists and is not empty"):
        write(pooled(np.uint8), tmp_path / "precious")
    assert [each.name for each in tmp_path.iterdir()] == ["precious"]


def test_a_folder_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    source = load(write(pooled(np.uint8), tmp_path / "source"))
    (tmp_path / "source" / "test" / "2.npz").unlink()
    with pytest.raises(ValueError, match=r"2\.npz: no such file"):
        write(source, tmp_path / "copy")
    assert [each.name for each in tmp_path.iterdir()] == ["source"]


def test_signals_that_we_wrote_are_not_ordered_twice(tmp_path: Path) -> None:
    write(pooled(np.float32, (2, 1, 3)), tmp_path)
    with pytest.raises(ConfigError, match="layout: edgeloop wrote this folder"):
        load(tmp_path, layout="signal")


def test_exdir_clients_are_written_and_load_back(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(4), 30)
    pool = Pool(np.arange(120, dtype=np.uint8).reshape(120, 1, 1, 1), labels, tuple("abcd"))
    partition = Partition("exdir", clients=3, alpha=100.0, classes_per_client=3, seed=2)
    federation = split(pool, partition)
    loaded = load(write(federation, tmp_path / "exdir"))
    assert loaded.partition == partition
    assert loaded.sizes() == federation.sizes()
    for client in range(3):
        before, after = federation.shards(client), loaded.shards(client)
        assert np.array_equal(before.train.inputs, after.train.inputs)
        assert np.array_equal(before.test.labels, after.test.labels)
