"""The reference implementation's accuracies on HAR: same data, models, seed and settings."""

from pathlib import Path

import pytest

from benchmarks.parity import OPTIONS, REFERENCE
from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests import real_data

ROUNDS = 2


@pytest.mark.parametrize("algorithm", ["local", "fedproto", "lgfedavg", "fml", "fedkd"])
def test_har_is_classified_as_by_the_reference(algorithm: str, tmp_path: Path) -> None:
    """To within two of 2,584 test samples: the reference printed four digits on another machine."""
    har = real_data.place("har", "config.json")
    settings = RunSettings.model_validate(
        {
            **{"algorithm": algorithm, "data": str(har), "rounds": ROUNDS, "seed": 0},
            "options": OPTIONS.get(algorithm, {}),
        }
    )
    summary = simulate(settings, tmp_path / "run", lambda *_: None)
    expected = REFERENCE[algorithm][: ROUNDS + 1]
    assert summary["accuracy_by_round"] == pytest.approx(expected, abs=2 / 2584 + 5e-5)
