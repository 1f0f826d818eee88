"""Clients that join after the last round."""

from pathlib import Path

import pytest

from edgeloop.errors import ConfigError
from simulations.engine import late_clients
from simulations.engine.run import simulate
from simulations.settings import RunSettings


def run(settings: RunSettings, folder: Path, **changes: object) -> dict[str, object]:
    return simulate(settings.model_copy(update=changes), folder, lambda *_: None)


def test_they_take_no_part_in_the_rounds(settings: RunSettings, tmp_path: Path) -> None:
    found = run(settings, tmp_path / "a", new_clients=1)
    assert set(found["samples_by_client"]) == {"client-00", "client-01"}  # type: ignore[call-overload]  # of a JSON value
    new = found["new_clients"]
    assert isinstance(new, dict)
    assert set(new["by_client"]) == {"new-00"}
    assert new["by_client"]["new-00"] == {"before": new["before"], "after": new["after"]}
    assert "new_clients" not in run(settings, tmp_path / "b")


def test_an_averaged_model_is_good_at_once_and_tuning_counts(
    settings: RunSettings, tmp_path: Path
) -> None:
    """Before: the global model. After: the new client's own, which the broadcast must not undo."""
    changes = {
        **{"algorithm": "fedavg", "options": {"local_lr": 0.05}, "new_clients": 1},
        **{"data": "fashion-sample", "partition": "iid", "samples": 600, "clients": 3, "rounds": 8},
    }
    few = run(settings, tmp_path / "few", **changes)["new_clients"]
    more = run(settings, tmp_path / "more", **changes, fine_tuning_epochs=8)["new_clients"]
    assert isinstance(few, dict)
    assert isinstance(more, dict)
    assert few["before"] == more["before"] > 0.15
    assert few["after"] != more["after"]
    assert more["after"] > more["before"]
    assert (few["fine_tuning_epochs"], more["fine_tuning_epochs"]) == (1, 8)


def test_somebody_must_be_left(settings: RunSettings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="new-clients: 3 of 3 clients would leave nobody"):
        run(settings, tmp_path / "a", new_clients=3)


def test_nobody_joins_unless_somebody_says_so(settings: RunSettings) -> None:
    everyone = settings.federation()
    assert late_clients.split_late_clients(everyone, 0) == late_clients.LateSplit(everyone)
