"""A device believes the aggregator only: it repeats its answer until it has a receipt."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.agent.settings import DeviceSettings
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks, wire
from edgeloop.protocol.chunks import Unfinished
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.presence import Presence, presence_of
from edgeloop.protocol.receipt import Receipt, asking, receipt, slow_down
from edgeloop.protocol.task import (
    over,
    presence_topic,
    receipt_topic,
    reminder,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import OWN_NOTES
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.tracing import NONE, Notes
from tests.devices import at_work, wait_until
from tests.edge.hand_made import ROUNDS, Cloud, cloud, cut, device, framed, pairs
from tests.one_device import write_data

pytestmark = pytest.mark.broker
FIRST = pairs(1)
SMALL = 600  # bytes of a packet, so that an answer is several


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("world"))


@pytest.fixture
def settings(world: Path, broker: BrokerSettings, tmp_path: Path) -> DeviceSettings:
    return device(world, broker, tmp_path / "one")


@pytest.fixture
def aggregator(settings: DeviceSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr("edge.agent.delivery.REPEAT_SECONDS", 0.5)
    monkeypatch.setattr("edge.agent.presence.DELAY_SECONDS", 0.1)
    with cloud(settings) as made:
        yield made


def opens(made: Cloud, number: int, notes: Notes = NONE) -> None:
    """Open a round as an aggregator does that gives receipts."""
    made.hold(number, cut(framed(FIRST)))
    text = made.opening(number, FIRST).text().encode()
    made.link.publish(round_topic("t"), text, retain=True, notes={**OWN_NOTES, **notes})


def tells(made: Cloud, told: Receipt) -> None:
    made.link.publish(receipt_topic("t", "one"), told.text().encode())


def gives(made: Cloud, number: int, payload: bytes, verdict: Verdict, why: str = "") -> None:
    tells(made, receipt("r", number, wire.digest(payload), verdict, why))


def packets(made: Cloud, seconds: float, first: float | None = None) -> list[bytes]:
    """Return what the device sends until nothing comes for a time, another one at the start."""
    found: list[bytes] = []
    wait = seconds if first is None else first
    while isinstance(event := made.link.receive(wait), Arrival):
        event.acknowledge()
        found.append(event.payload)
        wait = seconds
    return found


def answer_of(made: Cloud, number: int) -> bytes:
    """Return the answer to a round; one before it may be repeated meanwhile."""
    while wire.envelope_of(payload := made.answer()).round != number:
        pass
    return payload


def test_it_repeats_the_first_packet_until_it_has_a_receipt(
    aggregator: Cloud, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with at_work(settings) as one:
        one.link._outbox.limit = SMALL
        opens(aggregator, 0)
        payload = aggregator.answer()
        parts = chunks.split(payload, SMALL)
        assert len(parts) > 1
        for _ in range(2):
            event = aggregator.link.receive(60)
            assert isinstance(event, Arrival)
            assert event.payload == parts[0]
            event.acknowledge()
        gives(aggregator, 0, payload, Verdict.ACCEPTED)
        wait_until(lambda: "round 0: the answer has arrived" in caplog.text)
        packets(aggregator, 1.0)
        assert packets(aggregator, 3.0) == []


def test_it_sends_the_packets_that_are_asked_for(
    aggregator: Cloud, settings: DeviceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.agent.delivery.REPEAT_SECONDS", 600.0)
    with at_work(settings) as one:
        one.link._outbox.limit = SMALL
        opens(aggregator, 0)
        payload = aggregator.answer()
        parts = chunks.split(payload, SMALL)
        wait_until(lambda: not one.link.is_pending(upload_topic("t", "one")))
        tells(aggregator, asking("r", 0, Unfinished(wire.digest(payload), len(parts), (1,))))
        assert packets(aggregator, 1.0, first=60) == [parts[1]]
        tells(aggregator, asking("r", 0, Unfinished("0" * 64, len(parts), (1,))))
        assert packets(aggregator, 0.5) == [], "of another answer"
        tells(aggregator, asking("r", 0, Unfinished(wire.digest(payload), 1, (0,))))
        assert packets(aggregator, 1.0, first=60) == parts, "cut otherwise: all of it"


@pytest.mark.parametrize("verdict", [Verdict.MALFORMED, Verdict.CONFLICT, Verdict.LATE])
def test_it_learns_why_an_answer_was_refused_and_does_not_repeat_it(
    aggregator: Cloud,
    settings: DeviceSettings,
    caplog: pytest.LogCaptureFixture,
    verdict: Verdict,
) -> None:
    with at_work(settings):
        opens(aggregator, 0)
        payload = aggregator.answer()
        gives(aggregator, 0, payload, verdict, "of a reason")
        told = f"round 0: the answer was refused as {verdict.value}: of a reason"
        wait_until(lambda: told in caplog.text)
        packets(aggregator, 1.0)
        opens(aggregator, 0, reminder(["one"]))
        assert packets(aggregator, 3.0) == []
        opens(aggregator, 1)
        assert answer_of(aggregator, 1)


def test_it_exits_only_with_the_last_receipt(aggregator: Cloud, settings: DeviceSettings) -> None:
    with at_work(settings) as one:
        for number in range(ROUNDS):
            opens(aggregator, number)
            gives(aggregator, number, answer_of(aggregator, number), Verdict.ACCEPTED)
        opens(aggregator, ROUNDS)
        payload = answer_of(aggregator, ROUNDS)
        wait_until((settings.folder / "summary.json").exists)
        event = aggregator.link.receive(60)
        assert isinstance(event, Arrival), "it repeats its answer"
        assert not one.ended.done()
        gives(aggregator, ROUNDS, b"another", Verdict.ACCEPTED)
        gives(aggregator, ROUNDS, payload, Verdict.ACCEPTED)
        assert json.loads(one.ended.result(60).read_text())["run"] == "r"


@pytest.mark.parametrize("how", ["over", "told apart", "another run"])
def test_other_words_on_its_last_answer_are_as_good(
    aggregator: Cloud, settings: DeviceSettings, how: str
) -> None:
    with at_work(settings) as one:
        opens(aggregator, 0)
        gives(aggregator, 0, aggregator.answer(), Verdict.ACCEPTED)
        opens(aggregator, ROUNDS)
        answer_of(aggregator, ROUNDS)
        event = aggregator.link.receive(60)
        assert isinstance(event, Arrival), "it is not settled"
        event.acknowledge()
        if how == "another run":
            opening = aggregator.opening(0, FIRST).model_copy(update={"run": "s"})
            aggregator.link.publish(
                round_topic("t"), opening.text().encode(), retain=True, notes=OWN_NOTES
            )
        else:
            opens(aggregator, ROUNDS, over() if how == "over" else reminder(["two"]))
        assert one.ended.result(60).exists()


def test_it_says_what_it_is_doing(aggregator: Cloud, settings: DeviceSettings) -> None:
    found: list[Presence] = []
    topics = [presence_topic("t", "one")]
    with MqttConnection(settings.broker, "listener", topics) as listener, at_work(settings):

        def until(state: str, run: str = "r") -> Presence:
            while not (found and (found[-1].state, found[-1].run) == (state, run)):
                event = listener.receive(20)
                assert isinstance(event, Arrival), found
                assert event.payload == b"online"
                assert wire.speaks(event.notes) >= 0
                said = presence_of(event.notes)
                if said is not None:
                    found.append(said)
            return found[-1]

        until("waiting")
        text = aggregator.opening(0, FIRST).text().encode()
        aggregator.link.publish(round_topic("t"), text, retain=True, notes=OWN_NOTES)
        assert until("fetching").round == 0
        aggregator.hold(0, cut(framed(FIRST)))
        aggregator.answer()
        answered = until("answered")
        assert (answered.run, answered.round, answered.settled) == ("r", 0, None)
        assert answered.since > 1e9
        assert answered.version


def test_it_says_why_it_has_refused_a_contract(
    settings: DeviceSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To the task, and in its own log as long as it waits: there is a contract, if not for it."""
    caplog.set_level("INFO")
    monkeypatch.setattr("edge.agent.service.FIRST_STATUS_SECONDS", 0.5)
    monkeypatch.setattr("edge.agent.presence.DELAY_SECONDS", 0.1)
    topics = [presence_topic("t", "one")]
    with (
        MqttConnection(settings.broker, "listener", topics) as listener,
        cloud(settings.model_copy(update={"name": "two"})),
        at_work(settings),
    ):
        said = None
        while said is None or said.state != "refused":
            event = listener.receive(20)
            assert isinstance(event, Arrival)
            said = presence_of(event.notes)
        why = "waits for a contract of task t: the one that is there was refused: name: one is not"
        wait_until(lambda: why in caplog.text)
    assert "one is not invited to t" in said.reason


def test_who_sends_too_much_waits_and_keeps_its_answer(
    aggregator: Cloud,
    settings: DeviceSettings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer is neither given up nor sent at once; it counts when it is asked for."""
    caplog.set_level("INFO")
    monkeypatch.setattr("edge.agent.delivery.MOST_REPEAT_SECONDS", 6.0)
    with at_work(settings):
        opens(aggregator, 0)
        payload = aggregator.answer()
        tells(aggregator, slow_down("r", 0, wire.digest(payload), "10 messages a minute"))
        wait_until(lambda: "more than 10 messages a minute come of this device" in caplog.text)
        packets(aggregator, 1.0)  # what was on its way
        assert aggregator.link.receive(1.5) is None
        assert aggregator.answer() == payload
        gives(aggregator, 0, payload, Verdict.ACCEPTED)
        wait_until(lambda: "the answer has arrived" in caplog.text)
    assert "was refused" not in caplog.text
