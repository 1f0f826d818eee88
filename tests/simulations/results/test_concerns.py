"""What is legal in a run and still not wanted is said, and is in its summary."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edgeloop import data
from edgeloop.algorithm import Algorithm
from edgeloop.cli.main import main
from edgeloop.data import Partition, Pool
from edgeloop.errors import ConfigError
from simulations.engine.run import simulate
from simulations.results import clients_table, concerns
from simulations.results.measurements import Row
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
    rows = clients_table.read(tmp_path / "run")
    assert {row.client for row in rows if row.trained} == {"client-00"}


def test_a_batch_that_no_client_has_is_an_error(tmp_path: Path) -> None:
    source = windows(tmp_path / "data", 2, 60)
    with pytest.raises(ConfigError, match=r"batch_size: is 64, and no client has more than \d+"):
        run(tmp_path / "run", source, batch_size=64)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("clients", "words"),
    [
        ([0, 1], "no client has a test sample: nobody knows"),
        ([1], "1 of 2 clients have no test samples"),
    ],
)
def test_clients_without_test_samples(tmp_path: Path, clients: list[int], words: str) -> None:
    source = windows(tmp_path / "data", 2, 60)
    empty(source, "test", clients)
    (said,) = run(tmp_path / "run", source)
    assert said.startswith(words)


def test_nobody_with_a_test_sample_has_no_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = windows(tmp_path / "data", 2, 60)
    empty(source, "test", [0, 1])
    words = ["simulate", "fedproto", "--data", str(source), "--rounds", "1", "--width", "8"]
    assert main([*words, "--workers", "1", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert "accuracy -" in said.err
    assert "- (no test samples)" in said.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for key in ("best_accuracy", "best_round", "final_accuracy"):
        assert summary[key] is None, key
    assert summary["accuracy_by_round"] == summary["accuracy_std_by_round"] == [None, None]
    assert set(summary["accuracy_by_client"].values()) == {None}
    assert all(math.isnan(row.accuracy) for row in clients_table.read(tmp_path / "run"))
    assert main(["report", str(tmp_path / "run")]) == 0
    assert main(["compare", str(tmp_path / "run"), str(tmp_path / "run")]) == 0
    assert "0.0000" not in capsys.readouterr().out


def test_who_has_no_test_sample_does_not_count_as_wrong(tmp_path: Path) -> None:
    source = windows(tmp_path / "data", 2, 60)
    empty(source, "test", [1])
    run(tmp_path / "run", source)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["accuracy_by_client"]["client-01"] is None
    assert summary["accuracy_std_by_round"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        ([0] * 60, ("still",), ["all samples are of one class, still"]),
        ([0, 2] * 30, ("a", "b", "c"), ["no client has a sample of 1 of 3 classes: b"]),
        ([1] * 60, ("a", "b"), ["all samples are of one class", "no client has a sample of"]),
    ],
)
def test_classes_that_nobody_can_learn(
    labels: list[int], names: tuple[str, ...], words: list[str]
) -> None:
    inputs = np.zeros((60, 2, 1, 64), np.float32)
    pool = Pool(inputs, np.array(labels), names)
    found = concerns.data_warnings(data.single_client(pool), 10)
    assert len(found) == len(words)
    assert all(said.startswith(start) for said, start in zip(found, words, strict=True))


def test_one_class_is_in_the_summary(tmp_path: Path) -> None:
    pool = Pool(np.ones((60, 2, 1, 64), np.float32), np.zeros(60, np.int64), ("still", "moving"))
    data.write(data.single_client(pool), tmp_path / "data")
    found = run(tmp_path / "run", tmp_path / "data", rounds=1)
    assert found[0].startswith("all samples are of one class, still")


def test_clients_that_diverge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = windows(tmp_path / "data", 2, 60)
    (said,) = run(tmp_path / "run", source, options={"local_lr": 1e30})
    assert said.startswith("2 of 2 clients diverged, the first in round")
    assert said.endswith("is not finite, or too large to be a model's, and is left out")
    assert said in caplog.text


def generated(tmp_path: Path, **options: float) -> dict[str, Any]:
    """Run FedKTL with the embedded generator; return the summary."""
    settings = RunSettings(
        algorithm="fedktl",
        data="fashion-sample",
        partition="iid",
        clients=2,
        samples=200,
        models="resnet4",
        width=16,
        rounds=3,
        workers=1,
        options={**options},
    )
    return simulate(settings, tmp_path / "run", lambda done, accuracy: None)


def test_a_server_that_learns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = generated(tmp_path)
    assert summary["warnings"] == []
    assert "not trained" not in caplog.text
    measures = summary["measures_by_round"]
    assert all(len(values) == 3 for values in measures.values())
    assert measures["distance"][2] < measures["distance"][0]
    assert measures["image_difference"][2] > 0.3


def test_a_server_that_does_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = generated(tmp_path, server_epochs=1, server_lr=1e-9)
    (said,) = summary["warnings"]
    assert said.startswith(
        "in 3 of 3 rounds, the last of them 2: the server's transformer is not trained: discrepancy"
    )
    told = [each.getMessage() for each in caplog.records if "not trained" in each.getMessage()]
    assert len(told) == 1  # not every round
    assert told[0].startswith("after round 0: the server's transformer is not trained")


def test_images_that_collapse(tmp_path: Path) -> None:
    summary = generated(tmp_path, server_lr=10.0)
    assert any("nearly alike" in said for said in summary["warnings"])


def test_etf_only_has_no_measures(tmp_path: Path) -> None:
    summary = generated(tmp_path, transfer=0.0)
    assert "measures_by_round" not in summary
    assert summary["warnings"] == []


class Judging:
    """An algorithm that finds an odd number wrong."""

    def metric_warnings(self, measures: Mapping[str, float]) -> dict[str, str]:
        odd = measures.get("x", 0) % 2
        return {"odd": f"{measures['x']:g} is odd"} if odd else {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([2, 4, 6], []),
        ([1, 2, 2], []),  # it passed
        ([2, 2, 3], ["in 1 of 3 rounds, the last of them 2: 3 is odd"]),
        ([1, 3, 2], ["in 2 of 3 rounds, the last of them 1: 3 is odd"]),
        ([], []),
    ],
)
def test_what_passed_is_not_said_at_the_end(values: list[float], said: list[str]) -> None:
    row = Row(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0)
    rows = [replace(row, round=n, measures={"x": x}) for n, x in enumerate(values)]
    algorithm = cast(Algorithm[Any, Any, Any], Judging())
    assert concerns.round_warnings(algorithm, [*rows, row]) == said
