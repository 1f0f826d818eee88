"""Class statistics over MQTT among devices that lie: what they send changes nothing, to the bit."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.answers import Report
from edgeloop.gaussian.statistics import HalfClassStatistics
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import broadcast_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings
from tests.bases.tiny import DIMS
from tests.devices import wait_until
from tests.leaving import TASK, Scene

pytestmark = pytest.mark.broker

REPORT = Report(1, 2, 3, 0.1, 0.2)
HONEST = ("a", "b")
ENTRIES = np.triu_indices(DIMS)


def upload(**changes: Any) -> HalfClassStatistics:
    """Return statistics that samples could have, but for what is changed."""
    means = np.full((2, DIMS), 0.5, np.float16)
    sound = HalfClassStatistics(
        np.arange(2), np.array([4, 4]), means, np.eye(DIMS)[ENTRIES].astype(np.float16) + 0.25
    )
    return replace(sound, **changes)


LIARS = {
    "offside": upload(
        means_RD=np.full((2, DIMS), 6, np.float16),
        second_T=(37 * np.eye(DIMS)[ENTRIES]).astype(np.float16),
    ),
    "negative": upload(second_T=-upload().second_T),
    "enormous": upload(second_T=np.full(len(ENTRIES[0]), 6e4, np.float16)),
    "everybody": upload(counts_R=np.array([10**8, 10**8])),
    "nobody": upload(counts_R=np.array([0, 4])),
    "elsewhere": upload(labels_R=np.array([3, 2**40])),
    "twice": upload(labels_R=np.array([1, 1])),
    "nan": upload(means_RD=np.full((2, DIMS), np.nan, np.float16)),
    "less": upload(counts_R=np.array([-1, 4])),
    "wider": upload(means_RD=np.zeros((2, DIMS + 1), np.float16)),
    "shorter": upload(second_T=np.zeros(3, np.float16)),
    "cut": upload(),
}
REASONS = (
    "no second moment of samples with these means: their covariance is none",
    "a second moment below the square of the means",
    "second_T has an entry above 4096",
    "more than 1,000,000 samples of one client",
    "a count of samples below 1",
    "labels that are no ascending classes below 10",
    "has NaN or infinity in it",
)


def sent(run: str, name: str, message: Any) -> bytes:
    payload = wire.encode(Envelope(TASK, run, 0, name), message, REPORT)
    return payload[:-40] if name == "cut" else payload


def scene(folder: Path, broker: BrokerSettings, liars: Mapping[str, Any]) -> Scene:
    cohort = {
        "devices": [*HONEST, *liars],
        "quorum": len(HONEST),
        "deadline_seconds": 1,
        "give_up_seconds": 200,
    }
    return Scene(folder, broker, HONEST, changes={"cohort": cohort})


def lied_to(told: Scene, broker: BrokerSettings, liars: Mapping[str, Any]) -> str:
    """Run a task to its end; return what its aggregator said."""
    with told.aggregator() as running, MqttConnection(broker, "liars", []) as connection:
        wait_until(lambda: "round" in "".join(told.kept().messages), 120)
        run = told.kept().contract().run
        for name, message in liars.items():
            connection.send(upload_topic(TASK, name), sent(run, name, message))
        assert connection.flush(60)
        with told.at_work(*HONEST) as devices:
            for each in devices:
                each.ended.result(200)
                first, last = (broadcast_topic(TASK, slot) + "/" for slot in (0, 1))
                topics = [arrival.topic for arrival in each.link.arrived]
                assert not [topic for topic in topics if topic.startswith(first)]
                assert [topic for topic in topics if topic.startswith(last)]
        assert running.process.wait(200) == 0, running.said()
        return running.said()


def test_what_liars_send_changes_nothing(tmp_path: Path, broker: BrokerSettings) -> None:
    """Nor do honest devices fetch the first broadcast, which holds nothing."""
    among = scene(tmp_path / "among", broker, LIARS)
    said = lied_to(among, broker, LIARS)
    for name in LIARS:
        assert f"{name}: malformed" in said
    for reason in REASONS:
        assert reason in said
    assert among.command("aggregator", "--forget").returncode == 0
    alone = scene(tmp_path / "alone", broker, {})
    lied_to(alone, broker, {})
    found, expected = among.summary(), alone.summary()
    assert found["knowledge_sha256"] == expected["knowledge_sha256"]
