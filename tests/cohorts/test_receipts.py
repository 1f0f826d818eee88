"""What the aggregator tells devices of their answers, and what it asks for."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from edgeloop.cohorts import receipts
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks, wire
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.presence import Presence, notes_of
from edgeloop.protocol.receipt import Receipt
from edgeloop.protocol.task import is_over, presence_topic, receipt_topic, round_topic, upload_topic
from edgeloop.protocol.wire import GROWS, Envelope
from edgeloop.runtime.pace import Timer
from tests.cohorts.test_mqtt import (
    ALGORITHM,
    REPORT,
    Scene,
    answer,
    scene,
)

pytestmark = pytest.mark.broker
_ = scene  # the fixture

FIRST = ALGORITHM.start()[1]


def received(scene: Scene, count: int, device: str = "a") -> list[Receipt]:
    """Return so many receipts of a device, which has subscribed before."""
    found: list[Receipt] = []
    while len(found) < count:
        event = scene.device.receive(20)
        assert isinstance(event, Arrival), found
        event.acknowledge()
        if event.topic == receipt_topic("t", device):
            found.append(Receipt.model_validate_json(event.payload))
    return found


def listen(scene: Scene, *devices: str) -> None:
    for device in devices:
        scene.device.subscribe(receipt_topic("t", device))


def test_each_upload_gets_a_receipt_with_its_verdict_and_reason(scene: Scene) -> None:
    listen(scene, "a", "stranger")
    other = PrototypeUpload(np.array([1]), np.array([1]), np.zeros((1, 4), np.float32))
    nan = PrototypeUpload(np.array([1]), np.array([1]), np.full((1, 4), np.nan, np.float32))
    sent = {
        "malformed": answer("a", nan, round=1),
        "late": answer("a"),
        "wrong_round": answer("a", round=2**62),
        "accepted": answer("a", round=1),
        "duplicate": answer("a", round=1),
        "conflict": answer("a", other, round=1),
    }
    for payload in sent.values():
        scene.say("a", payload)
    scene.device.publish(upload_topic("t", "a"), b"no chunk")
    scene.say("stranger", answer("stranger"))
    scene.say("b", answer("b", round=1))
    scene.cohort(quorum=2, deadline=20).ask(1, FIRST)
    found = received(scene, len(sent) + 1)
    expected = [*((name, wire.digest(payload)) for name, payload in sent.items())]
    assert [(each.verdict, each.digest) for each in found[:-1]] == expected
    assert found[-1].verdict == "malformed"
    assert {each.run for each in found} == {"now"}
    reasons = {each.verdict: each.reason for each in found[:-1]}
    assert "NaN" in reasons["malformed"]
    assert "closed without it" in reasons["late"]
    assert "first one counts" in reasons["conflict"]
    assert [each.is_taken for each in found].count(True) == 2
    assert found[1].round == 0
    assert received_by_stranger(scene) == ["uninvited"]


def received_by_stranger(scene: Scene) -> list[str]:
    scene.say("stranger", b"x")
    return [each.verdict for each in received(scene, 1, "stranger")]


def test_an_answer_to_a_closed_round_that_the_ledger_holds_is_not_late(scene: Scene) -> None:
    """Its receipt was lost, and its round was closed with it."""
    listen(scene, "a")
    for name in "ab":
        scene.log.record(0, name, wire.digest(answer(name)), answer(name))
    scene.say("a", answer("a"))
    for name in "ab":
        scene.say(name, answer(name, round=1))
    scene.cohort(quorum=2, deadline=20).ask(1, FIRST)
    assert scene.verdicts()[0] == ("a", Verdict.DUPLICATE)
    first, second = received(scene, 2)
    assert (first.verdict, first.round, first.is_taken) == ("duplicate", 0, True)
    assert (second.verdict, second.round) == ("accepted", 1)


def test_what_the_ledger_holds_gets_its_receipt_after_a_restart(scene: Scene) -> None:
    listen(scene, "a")
    scene.log.record(0, "a", wire.digest(answer("a")), answer("a"))
    scene.say("b", answer("b"))
    scene.cohort(quorum=2, deadline=20).ask(0, FIRST)
    assert received(scene, 1)[0].digest == wire.digest(answer("a"))


def test_the_first_packet_is_enough_to_be_told_that_it_is_there(scene: Scene) -> None:
    listen(scene, "a")
    scene.device.subscribe(receipt_topic("t", "a"))
    payload = answer("a")
    parts = chunks.split(payload, len(payload) // 3 + 60)
    for part in [*parts, parts[0]]:
        scene.device.publish(upload_topic("t", "a"), part)
    scene.say("b", answer("b"))
    scene.cohort(quorum=2, deadline=20).ask(0, FIRST)
    assert [each.verdict for each in received(scene, 2)] == ["accepted", "duplicate"]
    assert scene.verdicts()[:2] == [("a", Verdict.ACCEPTED), ("a", Verdict.DUPLICATE)]


def test_packets_that_do_not_come_are_asked_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "STALLED_SECONDS", 0.2)
    listen(scene, "a")
    payload = answer("a")
    parts = chunks.split(payload, len(payload) // 4 + 60)
    scene.device.publish(upload_topic("t", "a"), parts[1])
    scene.say("b", answer("b"))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(scene.cohort(quorum=2, deadline=60).ask, 0, FIRST)
        (told,) = received(scene, 1)
        expected = tuple(each for each in range(len(parts)) if each != 1)
        assert (told.verdict, told.missing, told.count) == ("incomplete", expected, len(parts))
        assert told.digest == wire.digest(payload)
        for index in told.missing:
            scene.device.publish(upload_topic("t", "a"), parts[index])
        assert list(asked.result(60)) == ["a", "b"]


def test_what_was_damaged_on_its_way_is_asked_for_again(scene: Scene) -> None:
    """Wherever the damage is; a refusal would be the last word on a good answer."""
    listen(scene, "a")
    payload = answer("a")
    parts = chunks.split(payload, len(payload) // 2 + 60)
    assert len(parts) == 2
    (only,) = chunks.split(payload, 100_000)
    body, count, total = only[:-1] + bytes([only[-1] ^ 1]), bytearray(only), bytearray(only)
    count[8] ^= 255  # as many chunks as bytes are not there
    total[12] ^= 1  # more bytes than anybody accepts
    scene.say("b", answer("b"))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(scene.cohort(quorum=2, deadline=60).ask, 0, FIRST)
        for damaged in (body, bytes(total), parts[0][:-1] + b"?"):
            scene.device.publish(upload_topic("t", "a"), damaged)
        scene.device.publish(upload_topic("t", "a"), parts[1])
        told = received(scene, 3)
        assert [each.verdict for each in told] == ["incomplete"] * 3
        assert [(each.missing, each.count) for each in told] == [((0,), 1), ((0,), 1), ((0, 1), 2)]
        assert {each.digest for each in told} == {wire.digest(payload)}
        scene.device.publish(upload_topic("t", "a"), bytes(count))
        for part in parts:
            scene.device.publish(upload_topic("t", "a"), part)
        assert list(asked.result(60)) == ["a", "b"]
    verdicts = [verdict for device, verdict in scene.verdicts() if device == "a"]
    assert verdicts == [Verdict.MALFORMED] * 4 + [Verdict.ACCEPTED]


def test_an_upload_that_was_set_aside_is_told_to_its_device(scene: Scene) -> None:
    listen(scene, "a")
    for name in "ab":
        scene.say(name, answer(name))
    cohort = scene.cohort(quorum=2, deadline=20)
    cohort.ask(0, FIRST)
    cohort.refuse(0, "a", "gives no finite result")
    last = received(scene, 2)[-1]
    assert (last.verdict, last.reason) == ("implausible", "gives no finite result")
    assert last.digest == wire.digest(answer("a"))


def test_refusals_are_not_told_without_end(scene: Scene) -> None:
    listen(scene, "a")
    for _ in range(50):
        scene.device.publish(upload_topic("t", "a"), b"nonsense")
    for name in "ab":
        scene.say(name, answer(name))
    scene.cohort(quorum=2, deadline=20).ask(0, FIRST)
    found = received(scene, 21)
    assert [each.verdict for each in found] == ["malformed"] * 20 + ["accepted"]


def evaluated(device: str) -> bytes:
    return wire.encode(Envelope("t", "now", 2, device), REPORT)


def said(scene: Scene, settled: int | None, **notes: Any) -> None:
    told = notes or notes_of(Presence(state="answered", run="now", round=2, settled=settled))
    scene.device.publish(presence_topic("t", "a"), b"online", retain=True, notes=told)


def test_at_the_end_it_stays_until_who_is_there_has_heard_of_it(scene: Scene) -> None:
    listen(scene, "a")
    said(scene, None)
    with ThreadPoolExecutor(1) as pool:
        for name in "ab":
            scene.say(name, evaluated(name))
        ending = pool.submit(scene.cohort(deadline=20).finish, 2, FIRST)
        received(scene, 1)
        assert not ending.done()
        scene.say("a", evaluated("a"))  # it has not heard of it
        assert received(scene, 1)[0].verdict == "duplicate"
        assert not ending.done()
        said(scene, 2)
        assert list(ending.result(20)) == ["a", "b"]
    with MqttConnection(scene.broker, "late", [round_topic("t")]) as late:
        opening = late.receive(10)
    assert isinstance(opening, Arrival)
    assert is_over(opening.notes)


def test_at_the_end_nobody_is_waited_for_who_knows_no_receipts(scene: Scene) -> None:
    said(scene, None, **GROWS)
    for name in "ab":
        scene.say(name, evaluated(name))
    assert list(scene.cohort(deadline=20).finish(2, FIRST)) == ["a", "b"]


def test_the_log_says_what_they_are_doing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    refused = Presence(state="refused", run="now", reason="its class 'dent' is none of the task's")
    scene.device.publish(presence_topic("t", "a"), b"online", notes=notes_of(refused))
    scene.device.publish(presence_topic("t", "b"), b"online", notes={"presence": "{nonsense"})
    cohort = scene.cohort(quorum=0, deadline=5.0)
    cohort._word = Timer(60, 0.5)
    cohort.ask(0, FIRST)
    told = "a (refused the contract: its class 'dent' is none of the task's), b (online)"
    assert told in caplog.text
