"""The server's end among devices of several versions."""

import json
import logging
import struct
from dataclasses import replace
from typing import Any

import pytest

from edgeloop.cohorts.events import DeviceMessage
from edgeloop.mqtt.connection import Arrival
from edgeloop.privacy import accounting
from edgeloop.protocol import wire
from edgeloop.protocol.device_health import Health
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.task import Opening, presence_topic, round_topic, upload_topic
from edgeloop.protocol.wire import GROWS, Envelope
from tests.cohorts.test_mqtt import ALGORITHM, GOOD, REPORT, Scene, answer, openings, scene

pytestmark = pytest.mark.broker
_ = scene  # the fixture

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEALTH = Health(0.25, None, 60.0)


def told(device: str, number: int = 0, **changes: Any) -> bytes:
    """Return an answer of today's version, with an epsilon and readings."""
    report = replace(REPORT.with_health(HEALTH), epsilon=1.5, **changes)
    return wire.encode(Envelope("t", "now", number, device, TRACE), GOOD, report)


def newer(payload: bytes) -> bytes:
    """Return an answer as a later version may send it."""
    _, _, length, _ = struct.unpack_from(">4sHIQ", payload)
    head = json.loads(payload[18 : 18 + length])
    head["minor"] = {**head["minor"], "Envelope": 99}
    text = json.dumps({**head, "mood": "good"}).encode()
    body = payload[18 + length : -32]
    start = struct.pack(">4sHIQ", b"EDGE", 1, len(text), len(body)) + text + body
    return start + bytes.fromhex(wire.digest(start))


def heard(scene: Scene) -> list[DeviceMessage]:
    return [each for each in scene.heard if isinstance(each, DeviceMessage) and each.verdict]


def test_what_a_device_tells_comes_in_its_report(scene: Scene) -> None:
    scene.say("b", told("b"))
    answers = scene.cohort(quorum=1).ask(0, ALGORITHM.start()[1])
    (message,) = heard(scene)
    assert message.verdict is Verdict.ACCEPTED
    assert message.report == answers["b"].report
    assert message.report is not None
    assert (message.report.epsilon, message.report.health) == (1.5, HEALTH)


def test_what_an_older_device_tells_comes_beside_its_answer(scene: Scene) -> None:
    notes = {**HEALTH.notes(), **accounting.epsilon_notes(2.0)}
    scene.device.send(upload_topic("t", "b"), answer("b"), notes)
    scene.cohort(quorum=1).ask(0, ALGORITHM.start()[1])
    (message,) = heard(scene)
    assert message.report == replace(REPORT.with_health(HEALTH), epsilon=2.0)


def test_what_has_been_spent_counts_whatever_becomes_of_the_answer(scene: Scene) -> None:
    scene.say("a", told("a", number=0))
    scene.say("b", told("b", number=1))
    scene.say("b", told("b", number=1))
    scene.say("c", told("c", number=1))
    scene.cohort(quorum=1, deadline=3.0).ask(1, ALGORITHM.start()[1])
    told_of = {(each.verdict, each.report and each.report.epsilon) for each in heard(scene)}
    assert told_of == {
        (Verdict.LATE, 1.5),
        (Verdict.ACCEPTED, 1.5),
        (Verdict.DUPLICATE, 1.5),
        (Verdict.UNINVITED, None),
    }


def test_a_late_answer_that_is_none_is_late_all_the_same(scene: Scene) -> None:
    scene.say("a", wire.encode(Envelope("t", "now", 0, "a"), GOOD))
    scene.say("b", answer("b", round=1))
    scene.cohort(quorum=1).ask(1, ALGORITHM.start()[1])
    assert scene.verdicts() == [("a", Verdict.LATE), ("b", Verdict.ACCEPTED)]


def test_fields_of_a_newer_device_are_ignored_counted_and_told_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for device in ("a", "b"):
        scene.say(device, newer(told(device)))
    answers = scene.cohort(quorum=2).ask(0, ALGORITHM.start()[1])
    assert list(answers) == ["a", "b"]
    assert [each.ignored for each in heard(scene)] == [1, 1]
    assert caplog.text.count("ignored field 'Envelope.mood' of") == 1


def test_another_major_version_is_malformed_and_told_with_both(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    payload = bytearray(answer("a"))
    payload[4:6] = (2).to_bytes(2, "big")
    scene.say("a", bytes(payload))
    scene.say("b", answer("b"))
    scene.cohort(quorum=1).ask(0, ALGORITHM.start()[1])
    assert scene.verdicts() == [("a", Verdict.MALFORMED), ("b", Verdict.ACCEPTED)]
    assert "of a: frame version 2, this is 1: update edgeloop on this side" in caplog.text


@pytest.mark.parametrize("growing", [("a", "b"), ("a",)], ids=["all", "one"])
def test_a_rounds_trace_is_a_field_once_every_device_takes_fields(
    scene: Scene, growing: tuple[str, ...]
) -> None:
    for device in ("a", "b"):
        notes = GROWS if device in growing else {}
        scene.device.publish(presence_topic("t", device), b"online", retain=True, notes=notes)
    scene.announce_seconds = 0.2
    scene.say("a", answer("a"))
    cohort = scene.cohort(quorum=1, deadline=3.0)
    cohort._tracer = Traced()
    cohort.ask(0, ALGORITHM.start()[1])
    found = [each for each in openings(scene.device, 0.5) if each.topic == round_topic("t")]
    first, last = found[0], found[-1]
    assert all(wire.grows(each.notes) for each in found)
    assert (traced(first), first.notes.get("traceparent")) == ("", TRACE)  # nobody was known yet
    whole = growing == ("a", "b")
    assert (traced(last), last.notes.get("traceparent")) == (("", TRACE), (TRACE, None))[whole]


def traced(arrival: Arrival) -> str:
    return Opening.model_validate_json(arrival.payload).trace


class Traced:
    """Makes spans that are always the same one."""

    def span(self, name: str, of: Any = None, links: Any = (), **facts: Any) -> "Traced":
        return self

    def __enter__(self) -> dict[str, str]:
        return {"traceparent": TRACE}

    def __exit__(self, *error: object) -> None:
        pass
