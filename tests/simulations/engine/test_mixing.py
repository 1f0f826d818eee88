"""Mixing in a simulation: it changes nothing in the rounds, and every client tells its weight."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.cli.main import main
from simulations.engine.run import simulate
from simulations.settings import RunSettings

UNCHANGED = ("accuracy_by_round", "auc_by_round", "accuracy_by_client", "knowledge_sha256")


def run(settings: RunSettings, folder: Path, **changes: Any) -> dict[str, Any]:
    chosen = RunSettings.model_validate({**settings.model_dump(), **changes})
    return simulate(chosen, folder, lambda done, accuracy: None)


def test_half_and_half_changes_nothing_in_the_rounds_and_alone_is_local(
    settings: RunSettings, tmp_path: Path
) -> None:
    never = run(settings, tmp_path / "never")
    assert "mix" not in never
    assert "mix" not in json.loads((tmp_path / "never" / "run.json").read_text())
    half = run(settings, tmp_path / "half", mix="half", beside=("local",))
    assert {key: half[key] for key in UNCHANGED} == {key: never[key] for key in UNCHANGED}
    mix = half["mix"]
    assert mix["how"] == "half"
    local = json.loads((tmp_path / "half" / "beside" / "local" / "summary.json").read_text())
    assert "mix" not in local
    alone = {name: each["alone"] for name, each in mix["clients"].items()}
    assert alone == local["accuracy_by_client"]
    together = {name: each["together"] for name, each in mix["clients"].items()}
    assert together == half["accuracy_by_client"]
    assert {each["weight"] for each in mix["clients"].values()} == {0.5}
    assert_hits_are_of_the_mixture(mix)
    again = run(settings, tmp_path / "workers", mix="half", workers=2)
    assert again["mix"] == mix, "in processes each"


def assert_hits_are_of_the_mixture(mix: dict[str, Any]) -> None:
    for each in mix["clients"].values():
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(each["hits"]), np.uint8))
        assert len(each["hits"]) == 2 * -(-each["test_samples"] // 8)
        assert bits.sum() == pytest.approx(each["mixed"] * each["test_samples"])


HITS = [("fedproto", "auto", 2), ("fedproto", "half", 2), ("fedavg", "auto", 2)]


@pytest.mark.parametrize(("algorithm", "mix", "shots"), [*HITS, ("fedproto", "auto", None)])
def test_hits_are_of_what_is_put_into_use(
    settings: RunSettings, algorithm: str, mix: str, shots: int | None, tmp_path: Path
) -> None:
    rounds = 8  # of few samples, enough for the run's model and its committee to differ
    changes = {"algorithm": algorithm, "options": {"local_lr": 0.1}, "mix": mix, "shots": shots}
    found = run(settings, tmp_path / "run", **changes, rounds=rounds)["mix"]
    assert_hits_are_of_the_mixture(found)


def test_a_run_of_local_and_one_with_its_own_mixture(
    settings: RunSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"algorithm": "local", "options": {}, "mix": "auto"}
    assert "mix" not in run(settings, tmp_path / "local", **changes)
    words = ["simulate", "class-statistics", "--data", settings.data, "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "statistics")]) == 0
    told = json.loads((tmp_path / "statistics" / "summary.json").read_text())
    clients = told["mix"]["clients"]
    assert {name: each["mixed"] for name, each in clients.items()} == told["accuracy_by_client"]
    assert "mixed: accuracy " in capsys.readouterr().out
    keys = {"weight", "alone", "together", "mixed", "test_samples", "held_out"}
    assert all(keys <= each.keys() for each in clients.values())


def test_a_network_beside_class_statistics_changes_nothing_in_the_rounds(
    settings: RunSettings, tmp_path: Path
) -> None:
    changes = {"algorithm": "class-statistics", "rounds": 1}
    asked = {"network": True, "network_rounds": 2}
    without = run(settings, tmp_path / "without", **changes, options={})
    found = run(settings, tmp_path / "network", **changes, options=asked, beside=("local",))
    assert {key: found[key] for key in UNCHANGED} == {key: without[key] for key in UNCHANGED}
    assert all("network" not in each for each in without["mix"]["clients"].values())
    for name, each in found["mix"]["clients"].items():
        network = each["network"]
        assert network["without"] == without["mix"]["clients"][name]["mixed"]
        assert network["alone"] is not None
        assert network["joins"] or each["mixed"] == network["without"]
    again = run(settings, tmp_path / "workers", **changes, options=asked, workers=2)
    assert again["mix"] == found["mix"], "in processes each"
