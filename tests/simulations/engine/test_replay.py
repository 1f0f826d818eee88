"""A run is a function of its configuration and of the record of who took part."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import ConfigError
from edgeloop.record import Record, RecordedRound
from simulations.engine import run_config
from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests.one_device import write_data

ALL = ("client-00", "client-01", "client-02")


def run(folder: Path, data: Path, **changes: Any) -> dict[str, Any]:
    fields = {"algorithm": "fedala", "models": "harcnn1-s2", "width": 16, "workers": 1, "rounds": 3}
    settings = RunSettings(data=str(data), **{**fields, **changes})
    return simulate(settings, folder, lambda done, accuracy: None)


def record(path: Path, *rounds: tuple[str, str]) -> str:
    """Write a record of who answered and who was late in each round, as digits."""
    named = [
        RecordedRound(
            answered=tuple(f"client-0{n}" for n in answered),
            late=tuple(f"client-0{n}" for n in late),
        )
        for answered, late in rounds
    ]
    whole = Record(task="t", run="r", algorithm="fedala", rounds=tuple(named))
    path.write_text(whole.model_dump_json())
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), clients=3, samples=600)


def test_a_record_of_everybody_is_the_plain_run(tmp_path: Path, data: Path) -> None:
    whole = record(tmp_path / "all.json", *[("012", "")] * 3)
    plain, again = run(tmp_path / "plain", data), run(tmp_path / "again", data, replay=whole)
    assert plain["knowledge_sha256"] == again["knowledge_sha256"]
    assert "replay" not in plain["config"]


def test_who_is_late_trains_and_who_is_away_does_not(tmp_path: Path, data: Path) -> None:
    """FedALA's clients mix what they receive with what they are: to be away is not to evaluate."""
    results = [
        run(tmp_path / name, data, replay=record(tmp_path / f"{name}.json", *rounds))
        for name, *rounds in (
            ("away", ("01", ""), ("01", ""), ("012", "")),
            ("late", ("01", ""), ("01", "2"), ("012", "")),
            ("lost", ("01", "2"), ("01", "2"), ("012", "")),
        )
    ]
    assert len({each["knowledge_sha256"] for each in results}) == 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rounds": 4}, "has 3 rounds, and this run 4; give --rounds 3"),
        ({"join_ratio": 0.5}, "takes its clients from the record"),
        ({"drop_rate": 0.5}, "takes its clients from the record"),
    ],
)
def test_what_does_not_fit_the_record(
    tmp_path: Path, data: Path, changes: dict[str, Any], sentence: str
) -> None:
    whole = record(tmp_path / "all.json", *[("012", "")] * 3)
    with pytest.raises(ConfigError, match=sentence):
        run(tmp_path / "run", data, replay=whole, **changes)


def test_records_that_are_none(tmp_path: Path, data: Path) -> None:
    path = tmp_path / "none.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        run(tmp_path / "run", data, replay=str(path))
    path.write_text(json.dumps({"rounds": 3}))
    with pytest.raises(ConfigError, match="is no record: "):
        run(tmp_path / "run", data, replay=str(path))
    strangers = record(path, ("07", ""), ("0", ""), ("0", ""))
    with pytest.raises(ConfigError, match="names client-07, and the data has client-00"):
        run(tmp_path / "run", data, replay=strangers)


def test_a_replay_has_its_rule_from_the_record(data: Path, tmp_path: Path) -> None:
    asked = RunSettings(
        algorithm="fedala", data=str(data), replay=record(tmp_path / "r"), robust="median"
    )
    with pytest.raises(ConfigError, match="takes its rule from the record"):
        asked.check()


def test_a_run_of_before_there_were_rules_goes_on_without_one(data: Path, tmp_path: Path) -> None:
    settings = RunSettings(algorithm="fedavg", data=str(data))
    assert run_config.as_begun(settings, tmp_path).robust == "auto"
    (tmp_path / "run.json").write_text('{"seed": 0}')
    assert run_config.as_begun(settings, tmp_path).robust == "none"
    (tmp_path / "run.json").write_text('{"robust": "auto"}')
    assert run_config.as_begun(settings, tmp_path).robust == "auto"


def test_a_simulation_has_no_rule_that_nobody_asked_for(data: Path, tmp_path: Path) -> None:
    found = {rule: run(tmp_path / rule, data, rounds=1, robust=rule) for rule in ("auto", "none")}
    assert found["auto"]["knowledge_sha256"] == found["none"]["knowledge_sha256"]
    assert found["auto"]["warnings"] == found["none"]["warnings"]


def test_what_a_rule_has_changed_is_said(tmp_path: Path) -> None:
    clients = write_data(tmp_path / "data", 7, 280)
    said = "the robust rule krum changed or left out uploads in 1 rounds, up to "
    warnings = run(tmp_path / "run", clients, rounds=1, robust="krum")["warnings"]
    assert [each for each in warnings if each.startswith(said)]


def test_a_rule_is_what_a_run_is_made_with(data: Path, tmp_path: Path) -> None:
    found = {
        rule: run(tmp_path / rule, data, rounds=1, robust=rule)["knowledge_sha256"]
        for rule in ("none", "median", "krum")
    }
    assert len(set(found.values())) == 3


def test_a_run_whose_server_learns_sums_only(data: Path, tmp_path: Path) -> None:
    found = [
        run(tmp_path / name, data, rounds=2, algorithm="fedavg", secure=secure, robust="none")
        for name, secure in (("plain", False), ("secure", True), ("again", True))
    ]
    assert found[1]["knowledge_sha256"] == found[2]["knowledge_sha256"]
    plain, secure = (each["accuracy_by_round"][:2] for each in found[:2])
    assert plain == pytest.approx(secure, abs=0.02)
    with pytest.raises(ConfigError, match="needs single uploads"):
        run(tmp_path / "no", data, algorithm="fedgh", secure=True)
    with pytest.raises(ConfigError, match="compares single uploads"):
        run(tmp_path / "no", data, algorithm="fedavg", secure=True, robust="clip")
