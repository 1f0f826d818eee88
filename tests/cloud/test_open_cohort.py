"""A task that lists no devices: they join while it runs, and are evicted from it."""

from pathlib import Path

import pytest

from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers
from edgeloop.participation import Participation
from edgeloop.runtime.config import BrokerSettings
from tests.devices import wait_until
from tests.leaving import Scene

pytestmark = pytest.mark.broker


def opened(tmp_path: Path, broker: BrokerSettings, rounds: int = 1, **cohort: object) -> Scene:
    asked = {"admit": ["a", "b*", "c"], "give_up_seconds": 60, "grace_seconds": 0.5, **cohort}
    return Scene(tmp_path / "open", broker, rounds=rounds, changes={"cohort": asked})


def test_devices_join_a_task_that_lists_nobody(tmp_path: Path, broker: BrokerSettings) -> None:
    scene = opened(tmp_path, broker, quorum=3)
    summary = scene.through()
    assert sorted(summary["accuracy_by_device"]) == ["a", "b", "c"]
    kept = scene.kept().contract()
    assert (kept.devices, kept.admit) == ((), ("a", "b*", "c"))
    listed = Scene(tmp_path / "listed", broker)
    assert listed.through()["knowledge_sha256"] == summary["knowledge_sha256"]


def test_an_evicted_device_is_told_and_stays_out(tmp_path: Path, broker: BrokerSettings) -> None:
    scene = opened(tmp_path, broker, quorum=3, rounds=1)
    with scene.aggregator() as running, scene.at_work("a", "b"):
        wait_until(lambda: running.said().count("accepted") == 2)
        told = scene.command("aggregator", "--evict", "b")
        assert told.returncode == 0, told.stderr
        assert "b is evicted from leaving" in told.stdout
        wait_until(lambda: "b is evicted from the run" in running.said())
        assert scene.kept().contract().excluded == ("b",)
        refused = scene.command("aggregator", "--evict", "stranger")
        assert refused.returncode == 2
        assert "stranger is no device of leaving" in refused.stderr


def test_a_round_asks_a_part_and_the_others_keep_quiet(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    asked = {"devices": ["a", "b", "c"], "sample": "67%", "give_up_seconds": 60}
    scene = Scene(tmp_path / "some", broker, changes={"cohort": asked})
    with scene.aggregator() as running, scene.at_work("a", "b", "c") as devices:
        for each in devices:
            each.ended.result(60)
        assert running.process.wait(60) == 0, running.said()
    assert running.said().count("accepted") == 2 + 3  # and the evaluation at the end, of all
    assert "not asked" not in running.said()
    with Ledger.open(scene.settings().ledger()) as ledger:
        assert ledger.hold("leaving") is not None
        drawn = LedgerMembers(ledger).asked(0)
        assert list(drawn) == list(ledger.recall(0))
    expected = Participation(("a", "b", "c"), 0.67, seed=0).joining(0)
    assert set(drawn) == expected
