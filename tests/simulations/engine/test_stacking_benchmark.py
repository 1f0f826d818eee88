"""Which clients train together: asked for, measured, kept, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import ConfigError
from simulations.engine.run import simulate
from simulations.engine.stacking_benchmark import COHORT
from simulations.settings import RunSettings


def run(signals: Path, folder: Path, **fields: Any) -> dict[str, Any]:
    asked = {"algorithm": "fedproto", "width": 16, "rounds": 2, "workers": 1, **fields}
    settings = RunSettings.model_validate({"data": str(signals), **asked})
    return simulate(settings, folder, lambda done, accuracy: None)


def test_stacked_clients_end_where_plain_ones_do(signals: Path, tmp_path: Path) -> None:
    plain = run(signals, tmp_path / "plain", models="harcnn-s1")
    stacked = run(signals, tmp_path / "stacked", models="harcnn-s1", cohort="stacked")
    assert plain["cohort"] == {}
    choice = stacked["cohort"]["harcnn-s1"]
    assert choice["stacked"]
    assert min(choice["seconds_alone"], choice["seconds_together"]) > 0
    assert json.loads((tmp_path / "stacked" / COHORT).read_text()) == stacked["cohort"]
    assert stacked["accuracy_by_round"] == pytest.approx(plain["accuracy_by_round"], abs=0.05)
    assert stacked["knowledge_sha256"] != plain["knowledge_sha256"]


def test_what_cannot_be_stacked_is_refused_or_left_alone(signals: Path, tmp_path: Path) -> None:
    fields = {"algorithm": "ditto", "models": "harcnn-s1"}
    with pytest.raises(ConfigError, match="cohort: clients with harcnn-s1 cannot be stacked"):
        run(signals, tmp_path / "asked", cohort="stacked", **fields)
    choice = run(signals, tmp_path / "auto", cohort="auto", **fields)["cohort"]["harcnn-s1"]
    assert not choice["stacked"]
    assert "more than one descent" in choice["why"]


@pytest.mark.parametrize("changed", [{"precision": "bfloat16"}, {"memory_format": "contiguous"}])
def test_other_ways_to_compute_learn_too(
    changed: dict[str, str], signals: Path, tmp_path: Path
) -> None:
    usual = run(signals, tmp_path / "usual", models="harcnn-s1")
    other = run(signals, tmp_path / "other", models="harcnn-s1", **changed)
    assert other["accuracy_by_round"] == pytest.approx(usual["accuracy_by_round"], abs=0.2)
    assert other["config"] != usual["config"]
