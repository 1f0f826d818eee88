"""What a simulation with privacy spends, and that it is the same however it is computed."""

import csv
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import ConfigError, ModelError
from edgeloop.privacy.accounting import Event, epsilon
from edgeloop.runtime.config import PrivacySettings
from simulations.engine.privacy_spending import SimulatedBudget
from simulations.engine.run import simulate
from simulations.settings import RunSettings, parse_privacy
from tests.one_device import write_data

FEW, MANY = (Event(1.0, 0.5, 4),), (Event(1.0, 0.1, 20),)
DELTA = 1e-5


def spent(cost: tuple[Event, ...], rounds: int) -> float:
    return epsilon([replace(each, times=rounds * each.times) for each in cost], DELTA)


class Odd:
    """Client a joins in odd rounds only; nothing of b's arrives."""

    def joining(self, round_number: int) -> Collection[str]:
        return {"a", "b"} if round_number % 2 else {"b"}

    def arriving(self, round_number: int, joining: Collection[str]) -> Collection[str]:
        return set(joining) - {"b"}


def test_everybody_spends_in_every_round() -> None:
    spending = SimulatedBudget(PrivacySettings(), {"a": FEW, "b": MANY}, None)
    assert spent(FEW, 1) > spent(MANY, 1)
    found = [spending.epsilon(rounds) for rounds in range(4)]
    assert found == [0.0, *(spent(FEW, rounds) for rounds in (1, 2, 3))]
    assert spending.joining(3) == {"a", "b"}
    assert spending.arriving(3, {"a"}) == {"a"}


def test_who_would_go_over_the_budget_trains_no_more() -> None:
    budget = spent(FEW, 2) + 1e-9
    spending = SimulatedBudget(PrivacySettings(epsilon=budget), {"a": FEW, "b": MANY}, None)
    assert spent(MANY, 4) < budget
    joining = [set(spending.joining(number)) for number in range(4)]
    assert joining == [{"a", "b"}, {"a", "b"}, {"b"}, {"b"}]
    assert spending.epsilon(4) == spent(FEW, 2)
    later = SimulatedBudget(PrivacySettings(epsilon=budget), {"a": FEW, "b": MANY}, None)
    assert later.joining(3) == {"b"}  # a run that continues


def test_who_joins_spends_whether_or_not_it_arrives() -> None:
    spending = SimulatedBudget(PrivacySettings(), {"a": MANY, "b": MANY}, Odd())
    assert spending.joining(0) == {"b"}
    assert spending.arriving(1, {"a", "b"}) == {"a"}
    assert spending.epsilon(4) == spent(MANY, 4)
    alone = SimulatedBudget(PrivacySettings(epsilon=spent(MANY, 2)), {"a": MANY, "b": FEW}, Odd())
    assert [set(alone.joining(n)) & {"a"} for n in (1, 3, 5)] == [{"a"}, {"a"}, set()]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("spending") / "data", clients=3, samples=240)


def settings(source: Path, **changes: Any) -> RunSettings:
    fields: dict[str, Any] = {
        "algorithm": "fedproto",
        "models": "cnn",
        "width": 8,
        "rounds": 3,
        "workers": 1,
        "privacy": {"noise": 1.0, "prototype_noise": 0.2},
    }
    return RunSettings.model_validate({"data": str(source), **fields, **changes})


def ran(asked: RunSettings, folder: Path) -> dict[str, Any]:
    return simulate(asked, folder, lambda done, accuracy: None)


def test_a_run_tells_epsilon_and_can_be_repeated(source: Path, tmp_path: Path) -> None:
    summary = ran(settings(source), tmp_path / "one")
    found = summary["epsilon_by_round"]
    assert len(found) == 4
    assert 0 < found[0] < found[1] < found[2] == found[3]
    with (tmp_path / "one" / "rounds.csv").open() as file:
        assert [float(row["epsilon"]) for row in csv.DictReader(file)] == found
    stored = json.loads((tmp_path / "one" / "run.json").read_text())
    assert stored["privacy"] == PrivacySettings(prototype_noise=0.2).model_dump()
    again = ran(settings(source, workers=2), tmp_path / "two")
    assert again["knowledge_sha256"] == summary["knowledge_sha256"]
    assert again["accuracy_by_round"] == summary["accuracy_by_round"]
    other = ran(settings(source, seed=1), tmp_path / "three")
    assert other["knowledge_sha256"] != summary["knowledge_sha256"]


def test_a_budget_ends_training(source: Path, tmp_path: Path) -> None:
    whole = ran(settings(source), tmp_path / "whole")["epsilon_by_round"]
    privacy = {"noise": 1.0, "prototype_noise": 0.2, "epsilon": whole[1]}
    summary = ran(settings(source, privacy=privacy), tmp_path / "budget")
    assert summary["epsilon_by_round"] == [whole[0], whole[1], whole[1], whole[1]]


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"algorithm": "ditto"}, ConfigError, "privacy: a round of ditto is more than one"),
        ({"models": "resnet4"}, ModelError, "resnet4: has batch normalisation"),
        ({"cohort": "stacked"}, ConfigError, "cohort: clients with privacy train each by itself"),
    ],
)
def test_what_cannot_be_private_is_refused(
    source: Path, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        ran(settings(source, **changes), tmp_path / "run")


def test_words_of_the_command() -> None:
    assert parse_privacy([]) is None
    assert parse_privacy(["noise=2", "epsilon = 8.0"]) == {"noise": 2, "epsilon": 8.0}
    with pytest.raises(ConfigError, match="privacy: 'noise' is no key=value; write --privacy"):
        parse_privacy(["noise"])
