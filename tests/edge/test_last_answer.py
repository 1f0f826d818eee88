"""A device ends when the broker has its last answer, and not before."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edge.agent.presence import PresenceTeller
from edge.agent.service import Agent
from edge.agent.task_session import load_context
from edgeloop.protocol.presence import State
from edgeloop.protocol.task import reminder, round_topic
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.tracing import NONE, Notes
from tests.devices import Cord, CutError, at_work, wait_until
from tests.edge.hand_made import ROUNDS, Cloud, cloud, device, pairs
from tests.fake_broker import before
from tests.world import StartBroker

pytestmark = pytest.mark.broker

FIRST = pairs(1)


def test_a_refused_one_is_sent_again_until_it_is_taken(
    broker: BrokerSettings, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy says that the broker has refused each message, until it is told to stop."""
    monkeypatch.setattr("edge.agent.service.REFUSED_SECONDS", 0.5)
    refuse = threading.Event()
    refuse.set()

    def change(data: bytes) -> bytes:
        if data[0] == 0x40 and refuse.is_set():  # a PUBACK
            return b"\x40\x04" + data[2:4] + b"\x87\x00"
        return data

    settings = device(world, broker, tmp_path / "one")
    with cloud(settings) as aggregator, before(broker.port, change=change) as port:
        aggregator.open(ROUNDS, FIRST)
        aggregator.open(0, FIRST)
        far = settings.model_copy(
            update={"broker": settings.broker.model_copy(update={"port": port})}
        )
        with at_work(far) as one:
            aggregator.answer()
            aggregator.open(ROUNDS, FIRST)
            first = aggregator.answer()
            assert aggregator.answer() == first
            assert aggregator.answer() == first, "it goes on trying"
            assert not one.ended.done()
            refuse.clear()
            assert one.ended.result(60).exists()


def test_one_that_the_broker_never_had_is_delivered_when_it_is_back(
    start_broker: StartBroker, world: Path, tmp_path: Path
) -> None:
    broker = start_broker()
    settings = device(world, broker.settings, tmp_path / "one")
    with cloud(settings) as aggregator, at_work(settings) as one:
        aggregator.open(0, FIRST)
        aggregator.answer()
        link = one.link
        send, gone = link.send, threading.Event()

        def cut_off(topic: str, payload: bytes, notes: Notes = NONE) -> int:
            broker.process.kill()
            broker.process.wait()
            wait_until(lambda: not link.connected)
            gone.set()
            return send(topic, payload, notes)

        link.send = cut_off  # type: ignore[method-assign]
        aggregator.open(ROUNDS, FIRST)
        assert gone.wait(60)
        wait_until((settings.folder / "summary.json").exists)
        assert not one.ended.done()
        start_broker(port=broker.settings.port)
        assert one.ended.result(60).exists()


def reminded(aggregator: Cloud, *missing: str) -> None:
    """Announce round 0 as one that waits."""
    opening = aggregator.opening(0, FIRST).model_dump_json().encode()
    aggregator.link.publish(round_topic("t"), opening, notes=reminder(missing))


def test_a_reminder_is_for_those_who_are_missing(
    broker: BrokerSettings, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = device(world, broker, tmp_path / "one")
    with cloud(settings) as aggregator, at_work(settings) as one:
        aggregator.open(0, FIRST)
        answer = aggregator.answer()
        for names in (["two"], ["one"]):  # not missing; missing, but it has only just answered
            reminded(aggregator, *names)
        wait_until(lambda: sum(bool(each.notes) for each in one.link.arrived) == 2)
        assert aggregator.link.receive(0.5) is None
        monkeypatch.setattr("edge.agent.delivery.RESEND_SMALL_SECONDS", 0.0)
        reminded(aggregator, "two", "one")
        assert aggregator.answer() == answer


def test_who_answers_an_ended_run_again_says_that_it_is_over(
    broker: BrokerSettings, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[State] = []
    say = PresenceTeller.say

    def heard(teller: PresenceTeller, state: State, *facts: Any, **more: Any) -> None:
        said.append(state)
        say(teller, state, *facts, **more)

    monkeypatch.setattr(PresenceTeller, "say", heard)
    monkeypatch.setattr("edge.agent.delivery.RESEND_SMALL_SECONDS", 0.0)
    settings = device(world, broker, tmp_path / "one")
    with cloud(settings) as aggregator, Cord(settings, lambda _: False) as link:
        agent = Agent(load_context(settings), link)
        aggregator.open(ROUNDS, FIRST)
        aggregator.open(0, FIRST)
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(agent.run)
            aggregator.answer()
            aggregator.open(ROUNDS, FIRST)
            last = aggregator.answer()
            assert ended.result(60).exists()
            count = len(said)
            assert said[-1] == State.SLEEPING
            stays = pool.submit(agent.run)
            opening = aggregator.opening(ROUNDS, FIRST).model_dump_json().encode()
            aggregator.link.publish(round_topic("t"), opening, notes=reminder(["one"]))
            assert aggregator.answer() == last
            wait_until(lambda: len(said) > count)
            link.cut()
            assert isinstance(stays.exception(60), CutError)
        assert set(said[count:]) == {State.SLEEPING}
        assert agent._presence._said.in_use
