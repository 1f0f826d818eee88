"""Semi-asynchronous rounds: over with the first answers, to them or to a round before."""

from typing import Any

import pytest

from edgeloop.cohorts.deadlines import RoundDeadlines
from edgeloop.cohorts.mqtt import MqttCohort
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import split
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.task import presence_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from tests.cohorts.test_mqtt import ALGORITHM, CONTRACT, REPORT, Scene, answer, scene

pytestmark = pytest.mark.broker
_ = scene  # the fixture


def buffered(scene: Scene, buffer: int, stalest: int = 2) -> Any:
    topics = MqttCohort.subscriptions("t")
    connection = scene.stack.enter_context(MqttConnection(scene.broker, "server", topics))
    patience = RoundDeadlines(buffer, 30.0, 30.0, grace=30.0, buffer=buffer, stalest=stalest)
    return MqttCohort(connection, CONTRACT, ALGORITHM, patience, scene.log, scene.heard.append)


def ask(cohort: Any, number: int) -> dict[str, int]:
    """Return how old the answers are that count in a round, by device."""
    found = cohort.ask(number, ALGORITHM.start()[1])
    assert all(each.upload is not None for each in found.values())
    return {name: each.staleness for name, each in found.items()}


def test_a_round_is_over_with_its_buffer_and_counts_older_answers(scene: Scene) -> None:
    """Though the other device is online, and neither grace nor deadline has passed."""
    scene.device.publish(presence_topic("t", "a"), b"online", notes=wire.OWN_NOTES)
    cohort = buffered(scene, 1)
    scene.say("b", answer("b", round=4))
    assert ask(cohort, 4) == {"b": 0}
    scene.say("a", answer("a", round=4))
    assert ask(cohort, 5) == {"a": 1}
    scene.say("a", answer("a", round=2))
    scene.say("b", answer("b", round=6))
    assert ask(cohort, 6) == {"b": 0}
    assert scene.verdicts() == [
        ("b", Verdict.ACCEPTED),
        ("a", Verdict.ACCEPTED),
        ("a", Verdict.LATE),
        ("b", Verdict.ACCEPTED),
    ]


def test_an_answer_counts_once_though_it_comes_again_in_a_later_round(scene: Scene) -> None:
    cohort = buffered(scene, 1)
    scene.say("a", answer("a", round=4))
    assert ask(cohort, 5) == {"a": 1}
    scene.say("a", answer("a", round=4))
    scene.say("a", answer("a", round=4, trained="1"))
    scene.say("b", answer("b", round=6))
    assert ask(cohort, 6) == {"b": 0}
    assert scene.verdicts()[1:] == [
        ("a", Verdict.DUPLICATE),
        ("a", Verdict.CONFLICT),
        ("b", Verdict.ACCEPTED),
    ]


def test_a_devices_next_answer_waits_for_the_next_round(scene: Scene) -> None:
    """A round has one of each; nothing of it is lost, and it counts with its age."""
    cohort = buffered(scene, 2)
    scene.say("a", answer("a", round=4))
    scene.say("a", answer("a", round=5))
    scene.say("b", answer("b", round=5))
    assert ask(cohort, 5) == {"a": 1, "b": 0}
    scene.say("b", answer("b", round=6))
    assert ask(cohort, 6) == {"a": 1, "b": 0}
    assert [verdict for _, verdict in scene.verdicts()] == [Verdict.ACCEPTED] * 4


def test_what_is_unfinished_as_a_round_opens_may_still_count(scene: Scene) -> None:
    cohort = buffered(scene, 1)
    first, second = split(answer("a", round=0), 300)[:2], split(answer("a", round=0), 300)[2:]
    for part in first:
        scene.device.publish(upload_topic("t", "a"), part)
    scene.say("b", answer("b", round=0))
    assert ask(cohort, 0) == {"b": 0}
    for part in second:
        scene.device.publish(upload_topic("t", "a"), part)
    assert ask(cohort, 1) == {"a": 1}


def test_a_restart_recalls_how_old_answers_are(scene: Scene) -> None:
    scene.log.record(5, "a", "digest", answer("a", round=3))
    scene.log.record(5, "b", "digest", answer("b", round=5))
    assert ask(buffered(scene, 2), 5) == {"a": 2, "b": 0}


def test_a_last_evaluation_waits_for_who_is_there(scene: Scene) -> None:
    """It has no buffer, and takes no answer to a round."""
    cohort = buffered(scene, 1)
    scene.say("a", answer("a", round=1))
    for name in ("a", "b"):
        scene.say(name, wire.encode(Envelope("t", "now", 2, name, evaluates=True), REPORT))
    assert set(cohort.finish(2, ALGORITHM.start()[1])) == {"a", "b"}
    assert scene.verdicts()[0] == ("a", Verdict.LATE)
