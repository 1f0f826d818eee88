"""The benchmark of a whole fleet, with a few devices."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import environment, fleet
from benchmarks.fleet import Cost, Load, Measured
from edgeloop.errors import ConfigError, UnavailableError
from tests.world import StartBroker

LOAD = Load(20, "40KB", 2)


def made(**changes: object) -> Measured:
    each = {
        "uploads": 20,
        "uploads_per_second": 1234.5,
        "receipts": 19,
        "receipt_p50_seconds": 0.25,
        "receipt_p99_seconds": 1.5,
    }
    told = {
        "connected": 20,
        "connect_seconds": 1.6,
        "rounds": dict.fromkeys("012", each),
        "failures": {},
    }
    return Measured(told | changes, [2.04, 1.0], {"fleet": Cost(1.25, 80.0)})


@pytest.mark.broker
def test_every_upload_of_every_round_has_its_receipt(start_broker: StartBroker) -> None:
    found = fleet.measure(LOAD)
    assert [row[:2] for row in fleet.rows(LOAD, found)] == [
        ["0", "20 of 20"],
        ["1", "20 of 20"],
    ]
    assert found.fleet["failures"] == {}
    assert all(each > 0 for each in found.seconds)
    assert list(found.costs) == ["Mosquitto", "aggregator", "fleet"]
    assert all(each.processor_seconds >= 0 for each in found.costs.values())
    assert all(1 < each.mebibytes < 2000 for each in found.costs.values())


@pytest.mark.broker
def test_a_fleet_that_does_not_begin_is_told(start_broker: StartBroker) -> None:
    with pytest.raises(ConfigError, match="payload: '40 apples' is no size"):
        fleet.measure(Load(2, "40 apples", 1))
    with pytest.raises(ConfigError, match="raise the limit: ulimit -n"):
        fleet.measure(Load(2**40, "40KB", 1))


def test_a_fleet_that_ends_without_numbers_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="fleet: ended with 2; see what it said"):
        fleet._fleet(tmp_path / "fleet.json", 1, Load(0, "40KB", 1))


def test_what_was_measured_is_told() -> None:
    assert fleet.rows(LOAD, made())[0] == ["0", "19 of 20", "2.0", "1,234", "250", "1,500"]
    assert len(fleet.rows(LOAD, made())) == LOAD.rounds, "not the evaluation"
    assert fleet.cost_rows(made()) == [["fleet", "1.2", "80"]]
    said = fleet.sentence(LOAD, made())
    assert said.startswith("20 of 20 devices with uploads of about 40KB connected in 2 s. Nothing")
    assert "Failed: lost (3 times). " in fleet.sentence(LOAD, made(failures={"lost": 3}))


def test_it_is_kept_and_put_into_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "docs" / "load.md"
    page.parent.mkdir()
    shutil.copy(environment.ROOT / "docs" / "load.md", page)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "RESULTS", tmp_path / "results")
    before = page.read_text()
    fleet.report(LOAD, made(), store=False)
    assert page.read_text() == before
    fleet.report(LOAD, made(), store=True)
    text = (tmp_path / "results" / "fleet.md").read_text()
    assert text in page.read_text()
    assert "| 0 | 19 of 20 | 2.0 | 1,234 | 250 | 1,500 |" in text
    kept = json.loads((tmp_path / "results" / "fleet.json").read_text())
    assert (kept["devices"], kept["costs"]["fleet"]["mebibytes"]) == (20, 80.0)
    assert kept["machine"] == environment.machine()
