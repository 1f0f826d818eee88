"""Devices that a task lists, and that are not there."""

from pathlib import Path

import pytest

from cloud.aggregator.settings import CohortSettings
from edgeloop.runtime.config import BrokerSettings, parse
from tests.leaving import Scene

pytestmark = [pytest.mark.broker, pytest.mark.field]


def test_a_listed_device_that_never_came_costs_no_deadline(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    """Two of three are the quorum, for two rounds and the last evaluation."""
    cohort = {"devices": ["a", "b", "c"], "quorum": 2, "grace_seconds": 0.5}
    scene = Scene(tmp_path / "some", broker, rounds=2, changes={"cohort": cohort})
    assert scene.settings().cohort.deadline_seconds == 600
    with scene.aggregator() as running, scene.at_work("a", "b") as devices:
        for each in devices:
            each.ended.result(60)
        assert running.process.wait(60) == 0, running.said()
    assert set(scene.summary()["accuracy_by_device"]) == {"a", "b"}


def test_a_grace_is_given_without_a_word() -> None:
    for asked in ({"devices": ("a", "b")}, {"admit": ("a*",)}):
        assert parse(asked, CohortSettings, "cohort").grace_seconds == 5
