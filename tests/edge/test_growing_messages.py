"""A device among aggregators of several versions."""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy

from edge.agent.settings import DeviceSettings
from edgeloop.answers import Report
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import contract_topic, presence_topic, round_topic
from edgeloop.protocol.wire import GROWS
from edgeloop.runtime.config import BrokerSettings
from tests.devices import at_work, wait_until
from tests.edge.hand_made import Cloud, cloud, cut, device, framed, pairs
from tests.one_device import write_data

pytestmark = pytest.mark.broker
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("world"))


@pytest.fixture
def settings(world: Path, broker: BrokerSettings, tmp_path: Path) -> DeviceSettings:
    return device(world, broker, tmp_path / "one")


@pytest.fixture
def aggregator(settings: DeviceSettings) -> Iterator[Cloud]:
    with cloud(settings) as made:
        yield made


def opens(made: Cloud, text: str, notes: Mapping[str, str]) -> None:
    made.link.publish(round_topic("t"), text.encode(), retain=True, notes=notes)


def report_of(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Return an answer's header and body."""
    _, _, length, _ = struct.unpack_from(">4sHIQ", payload)
    return json.loads(payload[18 : 18 + length]), payload[18 + length : -32]


def test_an_aggregator_that_takes_fields_gets_fields(
    aggregator: Cloud, settings: DeviceSettings
) -> None:
    first = pairs(1)
    with at_work(settings):
        aggregator.hold(0, cut(framed(first)))
        opens(aggregator, aggregator.opening(0, first).text(), GROWS)
        payload = aggregator.answer()
    frame = wire.decode(payload, PrototypeUpload, Report)
    assert frame[Report].cpu_ratio is not None
    assert frame[Report].train_loss is not None
    assert report_of(payload)[0]["minor"] == {"Report": 2}


def test_an_older_aggregator_gets_what_it_knows(
    aggregator: Cloud, settings: DeviceSettings
) -> None:
    first = pairs(1)
    with at_work(settings):
        aggregator.open(0, first)
        payload = aggregator.answer()
    header, body = report_of(payload)
    assert header.keys() == {"kinds", "task", "run", "round", "sender"}
    names = safetensors.numpy.load(body).keys()
    later = ("cpu_ratio", "epsilon", "train_loss")
    assert not any(each in name for name in names for each in later)
    assert "Report.test_auc" in names


def test_the_device_says_that_it_takes_fields(
    aggregator: Cloud, settings: DeviceSettings, broker: BrokerSettings
) -> None:
    with (
        MqttConnection(broker, "listener", [presence_topic("t", "one")]) as listener,
        at_work(settings),
    ):
        event = listener.receive(10)
        while isinstance(event, Arrival) and event.payload != b"online":
            event = listener.receive(10)
    assert isinstance(event, Arrival)
    assert wire.grows(event.notes)


def test_what_a_newer_aggregator_says_besides_is_ignored_and_told_once(
    aggregator: Cloud, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    """In the contract, in the opening, and in the broadcast, whose digest is of all of it."""
    said = {"minor": 99, "mood": "good"}
    contract = json.dumps({**json.loads(aggregator.contract.text()), "run": "s", **said})
    broadcast, digest = newer(pairs(2))
    opening = {**json.loads(aggregator.opening(0, pairs(2)).text()), "run": "s", **said}
    with at_work(settings):
        aggregator.link.publish(contract_topic("t"), contract.encode(), retain=True)
        aggregator.hold(0, cut(broadcast))
        opens(aggregator, json.dumps({**opening, "digest": digest, "trace": TRACE}), GROWS)
        frame = wire.decode(aggregator.answer(), PrototypeUpload, Report)
    assert (frame.envelope.run, frame.envelope.round) == ("s", 0)
    for name, sender in (("mood", "the contract"), ("Pairs.mood", "a broadcast")):
        assert caplog.text.count(f"ignored field {name!r} of {sender}") == 1


def newer(broadcast: Pairs) -> tuple[bytes, str]:
    """Return a broadcast as a later version may send it, and its digest."""
    frame = framed(broadcast)
    head, body = report_of(frame)
    tensors = {**safetensors.numpy.load(body), "Pairs.mood": pairs(3).latents_NH}
    body = safetensors.numpy.save(tensors)
    text = json.dumps({**head, "run": "s", "minor": {"Pairs": 99}}).encode()
    start = struct.pack(">4sHIQ", b"EDGE", 1, len(text), len(body)) + text + body
    return start + hashlib.sha256(start).digest(), hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("what", ["contract", "round"])
def test_another_major_version_is_refused_with_both_and_the_remedy(
    aggregator: Cloud, settings: DeviceSettings, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    texts = {
        "contract": aggregator.contract.text(),
        "round": aggregator.opening(0, pairs(1)).text(),
    }
    name = {"contract": "contract", "round": "opening"}[what]
    text = json.dumps({**json.loads(texts[what]), "schema_version": 2})
    with at_work(settings):
        aggregator.link.publish(f"edgeloop/v1/t/{what}", text.encode(), retain=True)
        wait_until(lambda: "ignored an invalid" in caplog.text)
    told = f"ignored an invalid {what}: {name} version 2, this is 1: update edgeloop on this side"
    assert told in caplog.text
