"""What is legal in a run and still not wanted is said, and is in its summary."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgeloop import data
from edgeloop.data import Partition, Pool
from edgeloop.errors import ConfigError
from simulations.run import simulate
from simulations.settings import RunSettings


def windows(folder: Path, clients: int, samples: int) -> Path:
    inputs = np.random.default_rng(0).normal(size=(samples, 2, 1, 64)).astype(np.float32)
    pool = Pool(inputs, np.arange(samples) % 2, ("still", "moving"))
    return data.write(data.split(pool, Partition("iid", clients=clients)), folder)


def empty(folder: Path, part: str, clients: list[int]) -> None:
    """Leave clients no sample of a part."""
    for client in clients:
        np.savez(
            folder / part / f"{client}.npz",
            x=np.zeros((0, 2, 1, 64), np.float32),
            y=np.zeros(0, np.int64),
        )


def run(folder: Path, source: Path, **changes: object) -> list[str]:
    fields = {"algorithm": "fedproto", "rounds": 2, "workers": 1, "width": 8, **changes}
    settings = RunSettings.model_validate({"data": str(source), **fields})
    summary = simulate(settings, folder, lambda done, accuracy: None)
    assert json.loads((folder / "summary.json").read_text())["warnings"] == summary["warnings"]
    return list(summary["warnings"])


def test_a_run_as_it_should_be(tmp_path: Path) -> None:
    assert run(tmp_path / "run", windows(tmp_path / "data", 2, 60)) == []


def test_clients_with_less_than_a_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = windows(tmp_path / "data", 2, 60)
    empty(source, "train", [1])
    (said,) = run(tmp_path / "run", source)
    assert said.startswith("1 of 2 clients have less than one batch of 10 training samples")
    assert said in caplog.text


def test_a_batch_that_no_client_has_is_an_error(tmp_path: Path) -> None:
    source = windows(tmp_path / "data", 2, 60)
    with pytest.raises(ConfigError, match=r"batch_size: is 64, and no client has more than \d+"):
        run(tmp_path / "run", source, batch_size=64)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("clients", "words"),
    [([0, 1], "no client has a test sample"), ([1], "1 of 2 clients have no test samples")],
)
def test_clients_without_test_samples(tmp_path: Path, clients: list[int], words: str) -> None:
    source = windows(tmp_path / "data", 2, 60)
    empty(source, "test", clients)
    (said,) = run(tmp_path / "run", source)
    assert said.startswith(words)


def test_clients_that_diverge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = windows(tmp_path / "data", 2, 60)
    (said,) = run(tmp_path / "run", source, options={"local_lr": 1e30})
    assert said.startswith("2 of 2 clients diverged, the first in round")
    assert said in caplog.text
