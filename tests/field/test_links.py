"""Links and brokers as they are in the field: what is lost is asked for, and who waits says so."""

import logging
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.agent.settings import DeviceSettings, TrainingSettings
from edge.agent.store import STATE
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import round_topic
from tests.chaos.proxy import gates
from tests.devices import at_work, wait_until
from tests.edge import hand_made
from tests.edge.hand_made import cut, framed, pairs
from tests.leaving import EVERYBODY, TASK, Scene
from tests.one_device import Task, aggregator, write_data
from tests.world import StartBroker

pytestmark = [pytest.mark.broker, pytest.mark.field]


def through(settings: DeviceSettings, port: int) -> DeviceSettings:
    """Return the settings of a device that reaches its broker by another port."""
    return settings.model_copy(update={"broker": settings.broker.model_copy(update={"port": port})})


def test_answers_that_the_brokers_queue_has_lost_are_sent_again(
    tmp_path: Path, start_broker: StartBroker
) -> None:
    """The aggregator's link is away; the broker keeps one message for it, of three devices'."""
    broker = start_broker("max_queued_messages 1", "persistence false").settings
    with gates(broker.port, 1) as (gate,):
        scene = Scene(tmp_path, broker, changes={"broker": {"port": gate.port}})
        with scene.aggregator() as running:
            wait_until(lambda: round_topic(TASK) in scene.kept().messages)
            gate.shut = True
            gate.cut()
            with scene.at_work(*EVERYBODY) as devices:
                wait_until(
                    lambda: all((scene.folder / name / STATE).exists() for name in EVERYBODY)
                )
                gate.shut = False
                for each in devices:
                    each.ended.result(60)
            assert running.process.wait(60) == 0, running.said()
    assert scene.summary()["rounds"] == 1
    assert set(scene.summary()["accuracy_by_device"]) == set(EVERYBODY)


def test_a_broadcast_that_the_brokers_queue_has_lost_is_waited_for_aloud(
    tmp_path: Path,
    start_broker: StartBroker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Packets of 8 KiB, of which the broker keeps a few for one client; or it is asked again."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("edge.agent.service.STATUS_SECONDS", 1.0)
    broker = start_broker(
        "max_packet_size 8192", "max_queued_messages 5", "max_inflight_messages 2"
    ).settings
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedavg", {})
    training = {"training": TrainingSettings(architecture="cnn", threads=1)}
    settings = task.device().model_copy(update=training)
    with aggregator(task), at_work(settings) as device:
        wait_until(
            lambda: device.ended.done() or "waits for the broadcast of round 0" in caplog.text
        )


def test_a_device_that_was_away_fetches_the_newest_broadcast_alone(
    tmp_path: Path, world: Path, start_broker: StartBroker
) -> None:
    broker, away = start_broker().settings, 30
    settings = hand_made.device(world, broker, tmp_path / "one")
    packets = len(cut(framed(pairs(0))))
    with (
        gates(broker.port, 1) as (gate,),
        hand_made.cloud(settings, rounds=2 * away) as cloud,
        at_work(through(settings, gate.port)) as device,
    ):
        cloud.open(0, pairs(0))
        cloud.answer()
        gate.shut = True
        gate.cut()
        wait_until(lambda: not device.link.connected)
        for number in range(1, away + 1):
            cloud.open(number, pairs(number))
        assert cloud.link.flush(30)
        gate.shut, before = False, device.link.fetched()
        while wire.envelope_of(cloud.answer()).round < away:
            pass
        assert device.link.fetched() - before <= 3 * packets


def test_of_openings_that_come_together_only_the_newest_is_fetched_for(
    tmp_path: Path, world: Path, start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that stood still and moves again: the broker sends twenty rounds, and twenty more."""
    monkeypatch.setattr("edge.agent.inbox.FURTHER_SECONDS", 1.0)
    broker, missed = start_broker().settings, 40
    settings = hand_made.device(world, broker, tmp_path / "one")
    packets = len(cut(framed(pairs(0))))
    with (
        gates(broker.port, 1) as (gate,),
        hand_made.cloud(settings, rounds=2 * missed) as cloud,
        at_work(through(settings, gate.port)) as device,
    ):
        cloud.open(0, pairs(0))
        cloud.answer()
        gate.hole = frozenset({"down"})
        for number in range(1, missed + 1):
            cloud.open(number, pairs(number))
        assert cloud.link.flush(30)
        gate.hole, before = frozenset(), device.link.fetched()
        while wire.envelope_of(cloud.answer()).round < missed:
            pass
        assert device.link.fetched() - before <= 3 * packets


def test_who_waits_for_a_task_that_nobody_runs_says_so(
    tmp_path: Path,
    world: Path,
    start_broker: StartBroker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("edge.agent.service.FIRST_STATUS_SECONDS", 0.2)
    settings = hand_made.device(world, start_broker().settings, tmp_path / "one")
    with at_work(settings.model_copy(update={"task": "shop-flor"})):
        wait_until(lambda: "waits for a contract of task shop-flor" in caplog.text)


def test_a_slow_line_is_no_dead_one(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One packet takes longer than the keep-alive, up or down: it arrives on one connection."""
    monkeypatch.setattr("edgeloop.mqtt.paho_client.KEEPALIVE_SECONDS", 2)
    broker, payload = start_broker().settings, bytes(120_000)
    with ExitStack() as stack:
        up, down = ways = stack.enter_context(gates(broker.port, 2))
        for each in ways:
            each.plain = True
        behind = [broker.model_copy(update={"port": way.port}) for way in ways]
        says = stack.enter_context(MqttConnection(behind[0], "says", []))
        hears = stack.enter_context(MqttConnection(behind[1], "hears", ["a"]))
        up.rate = down.rate = 20_000.0
        says.publish("a", payload)
        assert says.flush(60)
        arrival = hears.receive(60)
        assert isinstance(arrival, Arrival)
        assert arrival.payload == payload
        assert (up.count, down.count) == (1, 1)


def test_a_dead_line_is_no_slow_one(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing moves, with a packet under way and more to say: another connection is tried."""
    monkeypatch.setattr("edgeloop.mqtt.paho_client.KEEPALIVE_SECONDS", 1)
    broker = start_broker().settings
    with (
        gates(broker.port, 1) as (gate,),
        MqttConnection(broker.model_copy(update={"port": gate.port}), "says", []) as says,
    ):
        gate.hole = frozenset({"up"})
        for size in (5_000_000, 10):
            says.publish("a", bytes(size))
        wait_until(lambda: gate.count > 1)
        gate.hole = frozenset()
        assert says.flush(60)
