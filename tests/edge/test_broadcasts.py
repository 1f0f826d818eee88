"""What a device fetches, refuses and counts: a real agent and broker, a hand-made aggregator."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.agent.settings import DeviceSettings
from edge.agent.task_session import load_context, open_session
from edgeloop.client import Report
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.protocol import wire
from edgeloop.protocol.chunks import MAX_CHUNKS
from edgeloop.runtime.config import BrokerSettings
from tests.devices import Device, at_work, wait_until
from tests.edge import hand_made
from tests.edge.hand_made import LATENT_DIM, ROUNDS, Cloud, cut, framed, pairs

pytestmark = pytest.mark.broker

FIRST, SECOND = pairs(1), pairs(2)
PACKETS = cut(framed(FIRST))


@pytest.fixture
def settings(world: Path, broker: BrokerSettings, tmp_path: Path) -> DeviceSettings:
    return hand_made.device(world, broker, tmp_path / "one")


@pytest.fixture
def cloud(settings: DeviceSettings) -> Iterator[Cloud]:
    with hand_made.cloud(settings) as cloud:
        yield cloud


def answered(cloud: Cloud) -> int:
    """Return the round of the device's next answer."""
    return wire.envelope_of(cloud.answer()).round


def test_it_is_fetched_once_for_each_digest(cloud: Cloud, settings: DeviceSettings) -> None:
    cloud.open(0, FIRST)
    with at_work(settings) as device:
        answer = cloud.answer()
        assert device.link.fetched() == len(PACKETS) > 2
        cloud.open(0, FIRST)
        assert cloud.answer() == answer
        cloud.open(1, FIRST)
        assert answered(cloud) == 1
        assert device.link.fetched() == len(PACKETS)
        cloud.open(2, SECOND)
        assert answered(cloud) == 2
        assert device.link.fetched() == 2 * len(PACKETS)


def test_a_device_that_was_started_again_has_it(cloud: Cloud, settings: DeviceSettings) -> None:
    cloud.open(0, FIRST)
    with at_work(settings):
        answer = cloud.answer()
    with at_work(settings) as again:
        assert cloud.answer() == answer
        cloud.open(1, FIRST)
        assert answered(cloud) == 1
        assert again.link.fetched() == 0
        cloud.open(2, SECOND)
        assert answered(cloud) == 2
        assert again.link.fetched() == len(PACKETS)


def test_a_task_restored_from_before_a_devices_answer_is_told_in_its_log(
    cloud: Cloud, settings: DeviceSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with at_work(settings):
        for number in range(2):
            cloud.open(number, FIRST)
            assert answered(cloud) == number
        cloud.open(0, FIRST)
        wait_until(lambda: "round 0 is open, and round 1 was answered" in caplog.text)
        cloud.open(2, FIRST)
        assert answered(cloud) == 2


def test_a_device_that_was_cut_off_before_it_answered_has_it(
    cloud: Cloud, settings: DeviceSettings
) -> None:
    cloud.open(0, FIRST)
    with at_work(settings):
        upload = uploaded(cloud)
    (settings.folder / "state.safetensors").unlink()  # as if the power had failed in training
    with at_work(settings) as again:
        assert same(uploaded(cloud), upload)
        assert again.link.fetched() == 0


def test_a_kept_one_that_is_damaged_is_fetched_again(
    cloud: Cloud, settings: DeviceSettings
) -> None:
    cloud.open(0, FIRST)
    with at_work(settings):
        cloud.answer()
    kept = settings.folder / "broadcast.frame"
    kept.write_bytes(changed(kept.read_bytes(), 5000))
    with at_work(settings) as again:
        cloud.answer()
        cloud.open(1, FIRST)
        assert answered(cloud) == 1
        assert again.link.fetched() == len(PACKETS)


def uploaded(cloud: Cloud) -> PrototypeUpload:
    """Return what the device's next answer says."""
    return wire.decode(cloud.answer(), PrototypeUpload, Report)[PrototypeUpload]


def same(one: PrototypeUpload, other: PrototypeUpload) -> bool:
    return wire.fingerprint(one) == wire.fingerprint(other)


def changed(payload: bytes, position: int) -> bytes:
    """Return bytes of which one is another."""
    found = bytearray(payload)
    found[position] ^= 1
    return bytes(found)


def announcing(packet: bytes, **fields: int) -> bytes:
    """Return a packet whose head says something else."""
    _, index, count, total = struct.unpack_from(">4sIIQ", packet)
    head = {"index": index, "count": count, "total": total, **fields}
    return packet[:4] + struct.pack(">IIQ", *head.values()) + packet[20:]


WRONG = {
    "the chunks' digest does not match": [*PACKETS[:-1], changed(PACKETS[-1], -1)],
    "the digest does not match": cut(changed(framed(FIRST), 5000)),
    "268435457 bytes announced": [announcing(PACKETS[0], index=2, total=wire.MAX_FRAME + 1)],
    "268435457 bytes in 3 chunks": [announcing(PACKETS[0], total=wire.MAX_FRAME + 1)],
    "chunk 0 of 65537": [announcing(PACKETS[0], count=MAX_CHUNKS + 1)],
    "chunks of more than the": [PACKETS[0] + bytes(20_000)],
    "bytes that do not begin as a chunk": [b"junk"],
    "task='u'": cut(framed(FIRST, task="u")),
    "got ['GlobalPrototypes']": cut(
        framed(GlobalPrototypes(np.ones(10, bool), np.ones((10, 16), np.float32)))
    ),
    "has H = 9, not 8": cut(framed(pairs(1, LATENT_DIM + 1))),
    "NaN": cut(framed(replace(FIRST, latents_NH=np.full_like(FIRST.latents_NH, np.nan)))),
}
"""Packets by what is wrong with them."""


@pytest.mark.parametrize("problem", WRONG)
def test_a_wrong_one_is_refused_and_the_right_one_taken(
    cloud: Cloud, settings: DeviceSettings, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.hold(0, WRONG[problem])
    cloud.name(0, FIRST)
    with at_work(settings) as device:
        wait_until(lambda: "ignored a message on" in caplog.text or device.ended.done())
        (told,) = (each.getMessage() for each in caplog.records if each.levelname == "WARNING")
        assert told.startswith("ignored a message on edgeloop/v1/t/broadcast/0/")
        assert problem in told
        cloud.hold(0, PACKETS)
        assert same(uploaded(cloud), expected(cloud, settings))


def expected(cloud: Cloud, settings: DeviceSettings) -> PrototypeUpload:
    """Return what a device uploads that has heard nothing but the right broadcast."""
    upload = open_session(load_context(settings), cloud.contract).client.answer(0, FIRST).upload
    assert isinstance(upload, PrototypeUpload)
    return upload


def test_one_that_the_round_does_not_name_is_not_used(
    cloud: Cloud, settings: DeviceSettings
) -> None:
    cloud.hold(0, cut(framed(SECOND)))
    cloud.name(0, FIRST)
    with at_work(settings) as device:
        wait_until(lambda: device.link.fetched() == len(PACKETS))
        cloud.hold(0, PACKETS)
        assert same(uploaded(cloud), expected(cloud, settings))


def heard(device: Device) -> int:
    """Return the bytes of all packets that the device has got."""
    return sum(len(each.payload) for each in device.link.arrived)


def test_the_summary_counts_what_went_up_and_down(cloud: Cloud, settings: DeviceSettings) -> None:
    downs, ups = [0], [0]
    with at_work(settings) as device:
        for number, broadcast in enumerate((FIRST, FIRST, SECOND)):
            cloud.open(number, broadcast)
            cloud.answer()
            downs.append(heard(device))
            if number == 0:
                cloud.name(0, FIRST)
                cloud.answer()  # the same again
            ups.append(cloud.received)
        summary = json.loads(device.ended.result(60).read_text())
    assert len(summary["accuracy_by_round"]) == ROUNDS + 1
    assert summary["bytes_by_round"] == {
        str(number): {"down": down, "up": up}
        for number, (down, up) in enumerate(zip(np.diff(downs), np.diff(ups), strict=True))
    }
