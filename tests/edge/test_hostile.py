"""What comes from the cloud, whatever it says, neither ends a device nor fills its memory."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent.settings import DataSettings, DeviceSettings, ModelSettings, TrainingSettings
from edgeloop import algorithms, server_loop
from edgeloop.algorithms.fedkd import Mentee
from edgeloop.data import DeviceData, SampleSelection
from edgeloop.data.sample import fashion_sample
from edgeloop.errors import MisfitError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import Assembler
from edgeloop.protocol.task import (
    SERVER,
    Contract,
    Opening,
    broadcast_topic,
    contract_topic,
    round_topic,
    upload_topic,
)
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings
from tests.devices import at_work, wait_until
from tests.edge.test_joining import pictures
from tests.world import contract

CLASSES = tuple(fashion_sample().class_names)
HUGE = 10**30


class Cloud:
    """A hand-made aggregator that can say anything to device one of task t."""

    def __init__(self, link: MqttConnection) -> None:
        self._link = link

    def says(self, contract: Contract, **changes: Any) -> None:
        """Publish a contract, with changes that no contract would take."""
        text = contract.model_copy(update=changes).text().encode()
        self._link.publish(contract_topic("t"), text, retain=True)

    def opens(self, contract: Contract, number: int, broadcast: Any) -> None:
        frame = wire.encode(Envelope("t", contract.run, number, SERVER), broadcast)
        slot, digest = number % 2, wire.fingerprint(broadcast)
        self._link.publish_retained(broadcast_topic("t", slot), frame)
        opening = Opening(run=contract.run, round=number, digest=digest, slot=slot, size=len(frame))
        self._link.publish(round_topic("t"), opening.model_dump_json().encode(), retain=True)

    def hears(self) -> wire.Envelope:
        """Return whose answer comes next."""
        assembler, payload = Assembler(wire.MAX_FRAME), None
        while payload is None:
            event = self._link.receive(60)
            assert isinstance(event, Arrival)
            event.acknowledge()
            payload = assembler.offer(event.payload)
        return wire.envelope_of(payload)


@pytest.fixture
def cloud(broker: BrokerSettings) -> Iterator[Cloud]:
    with MqttConnection(broker, "cloud", [upload_topic("t", "+")]) as connection:
        yield Cloud(connection)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def device(broker: BrokerSettings, folder: Path) -> DeviceSettings:
    return DeviceSettings(
        name="one",
        task="t",
        folder=folder,
        broker=broker,
        data=DataSettings(source="fashion-sample", partition="iid", clients=100),
        training=TrainingSettings(architecture="cnn", threads=1, mix="never"),
        model=ModelSettings(every_rounds=0),
    )


def task(run: str, **changes: Any) -> Contract:
    return contract(run=run, class_names=CLASSES, **{"algorithm": "local", **changes})


SAID: dict[str, dict[str, Any]] = {
    "width": {"width": HUGE},
    "width for memory": {"width": 10**9},
    "rounds": {"rounds": HUGE},
    "batch": {"batch_size": HUGE},
    "seed": {"seed": HUGE},
    "classes": {"class_names": CLASSES + tuple(map(str, range(200_000)))},
    "classes and width": {"class_names": CLASSES + tuple(map(str, range(60_000))), "width": 8192},
    "shape": {"shape": (1, HUGE, 28)},
    "another task": {"task": "u"},
    "epochs": {"options": {"local_epochs": HUGE}},
    "name": {"algorithm": "\n2026-01-01 CRITICAL lost\x1b[2J"},
    "latents": {"algorithm": "fedktl", "options": {"latent_dim": 10**6}, "width": 8192},
    "frame": {"algorithm": "fedktl", "class_names": CLASSES + tuple(map(str, range(50_000)))},
    "logits": {"algorithm": "feddistill", "class_names": CLASSES + tuple(map(str, range(50_000)))},
    "generator": {"algorithm": "fedgen", "options": {"hidden_dim": 10**6, "noise_dim": 10**6}},
    "architecture": {"algorithm": "fedavg", "options": {"architecture": "cnn+" + "9," * 5000}},
}


@pytest.mark.broker
def test_a_hostile_contract_is_refused(
    cloud: Cloud,
    stack: ExitStack,
    broker: BrokerSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    stack.enter_context(at_work(device(broker, tmp_path)))
    for number, (what, changes) in enumerate(SAID.items()):
        caplog.clear()
        cloud.says(task(f"hostile-{number}"), **changes)
        wait_until(
            lambda: "cannot take part in" in caplog.text or "ignored an invalid" in caplog.text
        )
        assert "computing threads" not in caplog.text, what
    good = task("good", rounds=1)
    cloud.says(good)
    cloud.opens(good, 0, server_loop.initial_state(algorithms.load_for_contract(good)).broadcast)
    assert cloud.hears().run == "good"


@pytest.mark.broker
def test_what_a_contract_makes_torch_say_is_a_refusal(
    cloud: Cloud,
    stack: ExitStack,
    broker: BrokerSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory, say, that this device does not have."""
    built = algorithms.load_for_contract

    def agreed(contract: Contract, *rest: Any) -> Any:
        if contract.run == "hostile":
            return np.empty(2**60, np.uint8)
        return built(contract, *rest)

    monkeypatch.setattr("edge.agent.networks.algorithms.load_for_contract", agreed)
    stack.enter_context(at_work(device(broker, tmp_path)))
    cloud.says(task("hostile"))
    wait_until(lambda: "cannot take part in run hostile of t: " in caplog.text)
    good = task("good", rounds=1)
    cloud.says(good)
    cloud.opens(good, 0, server_loop.initial_state(built(good)).broadcast)
    assert cloud.hears().run == "good"


def ranked(broadcast: Mentee, rank: int) -> Mentee:
    return Mentee(broadcast.energy, np.full_like(broadcast.ranks_T, rank), broadcast.factors_F)


@pytest.mark.broker
def test_a_broadcast_that_cannot_be_worked_with_is_told_and_the_next_is_taken(
    cloud: Cloud,
    stack: ExitStack,
    broker: BrokerSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = task("r", algorithm="fedkd", options={"architecture": "cnn"}, rounds=4)
    good = server_loop.initial_state(algorithms.load_for_contract(asked)).broadcast
    at = stack.enter_context(at_work(device(broker, tmp_path)))
    cloud.says(asked)
    cloud.opens(asked, 0, good)
    assert cloud.hears().round == 0
    cloud.opens(asked, 1, ranked(good, 2**62))
    wait_until(lambda: "round 1: the broadcast cannot be used" in caplog.text)
    arrived = len(at.link.arrived)
    cloud.opens(asked, 1, ranked(good, 2**62))  # again
    wait_until(lambda: len(at.link.arrived) > arrived)
    cloud.opens(asked, 2, good)
    assert cloud.hears().round == 2
    assert caplog.text.count("the broadcast cannot be used") == 1


@pytest.mark.broker
def test_a_round_beyond_all_numbers_is_none(
    cloud: Cloud,
    stack: ExitStack,
    broker: BrokerSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = task("r", rounds=1)
    good = server_loop.initial_state(algorithms.load_for_contract(asked)).broadcast
    stack.enter_context(at_work(device(broker, tmp_path)))
    cloud.says(asked)
    opening = Opening(run="r", round=0, digest="0" * 64, slot=0, size=1)
    text = opening.model_copy(update={"round": HUGE}).model_dump_json().encode()
    cloud._link.publish(round_topic("t"), text)
    wait_until(lambda: "ignored an invalid round" in caplog.text)
    cloud.opens(asked, 0, good)
    assert cloud.hears().round == 0


@pytest.mark.parametrize("side", [5000, 10**9])
def test_images_are_not_blown_up(tmp_path: Path, side: int) -> None:
    folder = pictures(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(MisfitError, match="4096 are the most"):
        DeviceData(SampleSelection(str(folder))).samples_for(("a", "b"), (1, side, side))


def test_images_that_no_memory_holds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path, {"a": 2, "b": 2})
    monkeypatch.setattr("os.sysconf", lambda name: 2**9)  # 256 KiB
    with pytest.raises(MisfitError, match=r"4 images of 100 x 100 are 0 GiB as floats; have small"):
        DeviceData(SampleSelection(str(folder))).samples_for(("a", "b"), (1, 100, 100))


@pytest.mark.broker
def test_a_flood_of_nonsense_is_told_of_sparingly(
    cloud: Cloud,
    stack: ExitStack,
    broker: BrokerSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = task("r", rounds=1)
    stack.enter_context(at_work(device(broker, tmp_path)))
    for topic in (contract_topic("t"), round_topic("t")) * 100:
        cloud._link.publish(topic, b"nonsense")
    cloud.says(asked)
    cloud.opens(asked, 0, server_loop.initial_state(algorithms.load_for_contract(asked)).broadcast)
    assert cloud.hears().run == "r"
    assert caplog.text.count("ignored an invalid") == 20
