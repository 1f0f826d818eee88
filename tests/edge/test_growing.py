"""A device's data grow between two exchanges of class statistics: the new upload is of all."""

# Over 320 lines: every case is one device whose data grow, with one thing different.

import logging
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge.agent import joining
from edge.agent.settings import DataSettings, DeviceSettings, TrainingSettings
from edge.agent.task_session import DeviceContext, TaskSession, load_context, open_session, renewed
from edgeloop import algorithms, server_loop
from edgeloop.client import Client
from edgeloop.data import DeviceData, Partition, Samples, SampleSelection
from edgeloop.errors import ConfigError, NoSamplesError
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract, Opening, round_topic
from edgeloop.runtime.config import BrokerSettings, PrivacySettings, parse
from tests.bases.tiny import DIMS, tiny_base
from tests.devices import at_work, wait_until
from tests.leaving import TASK, Scene
from tests.world import contract

SHAPE, NAMES = (1, 8, 8), ("dent", "ok", "scratch")
BASE = tiny_base(SHAPE)


def add(
    folder: Path, start: int, count: int = 6, names: Sequence[str] = NAMES, side: int = 8
) -> Path:
    """Put photos of two classes into a folder."""
    for number in range(start, start + count):
        random = np.random.default_rng(number)
        pixels = random.integers(0, 255, (side, side)).astype(np.uint8) // (1 + number % 2)
        place = folder / names[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


def agreed(**changes: object) -> Contract:
    options = {"base_sha256": BASE.identity, "dims": DIMS}
    fields = {"algorithm": "class-statistics", "class_names": NAMES, "shape": SHAPE}
    return contract(**{**fields, "options": options, "devices": ("press",), **changes})


def sat(
    folder: Path, photos: Path, wanted: Contract | None = None, architecture: str = "resnet4"
) -> tuple[DeviceContext, TaskSession]:
    settings = DeviceSettings(
        name="press",
        task="t",
        folder=folder,
        data=DataSettings(source=str(photos)),
        training=TrainingSettings(architecture=architecture),
    )
    mine = load_context(settings)
    folder.mkdir(exist_ok=True)
    mine.base_cache.keep(BASE.graph)
    return mine, open_session(mine, wanted or agreed())


def member(place: TaskSession) -> StatisticsClient:
    assert isinstance(place.client, StatisticsClient)
    return place.client


def learned(*uploads: Any) -> tuple[Any, Any]:
    """Return what a task's server has after some exchanges of its one device."""
    algorithm = algorithms.load_for_contract(agreed())
    found = server_loop.initial_state(algorithm)
    state, broadcast = found.state, found.broadcast
    for upload in uploads:
        state, broadcast = algorithm.aggregate_uploads(state, {"press": upload})
    return state, broadcast


def test_two_exchanges_are_one_with_all_data(tmp_path: Path) -> None:
    photos = add(tmp_path / "photos", 0)
    mine, before = sat(tmp_path / "press", photos)
    start = learned()[1]
    first = before.answer(0, start).upload
    assert renewed(mine, before) is before  # nothing has changed
    after = renewed(mine, before)
    assert after is before
    add(photos, 6, 30)
    after = renewed(mine, before)
    assert len(after.share.data.train) > len(before.share.data.train)
    middle = learned(first)[1]
    second = after.answer(1, middle).upload
    whole = sat(tmp_path / "other", photos)[1].answer(0, start).upload
    for found, wanted in zip(learned(first, second), learned(whole), strict=True):
        assert wire.fingerprint(found) == wire.fingerprint(wanted)
    assert wire.fingerprint(learned(first)[1]) != wire.fingerprint(learned(whole)[1])


def test_what_was_uploaded_before_is_not_somebody_elses(tmp_path: Path) -> None:
    """Neither in the same process nor after a restart, and whichever upload has arrived."""
    photos = add(tmp_path / "photos", 0)
    mine, before = sat(tmp_path / "press", photos)
    first = before.answer(0, learned()[1]).upload
    add(photos, 6)
    after = renewed(mine, before)
    middle = learned(first)[1]
    assert member(after)._others(middle).samples == 0
    second = after.answer(1, middle).upload
    restarted = sat(tmp_path / "press", add(photos, 12))[1]
    restarted.client.restore(after.client.weights())
    for each in (after, restarted):
        assert member(each)._others(middle).samples == 0  # where the second came too late
        assert member(each)._others(learned(first, second)[1]).samples == 0
    assert len(member(restarted)._sent) == 2
    restarted.answer(2, learned(first, second)[1])
    assert len(member(restarted)._sent) == 2  # what the server has, and what it will have


@pytest.mark.parametrize("damage", ["gone", "empty", "class", "broken", "size"])
def test_data_that_are_damaged_meanwhile_change_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    photos = add(tmp_path / "photos", 0)
    mine, before = sat(tmp_path / "press", photos)
    if damage == "gone":
        photos.rename(tmp_path / "away")
    elif damage == "empty":
        shutil.rmtree(photos)
        for name in NAMES:
            (photos / name).mkdir(parents=True)
    elif damage == "class":
        (photos / "ok").rename(photos / "zebra")
    elif damage == "broken":
        for path in photos.glob("*/*.png"):
            path.write_bytes(b"no picture")
    else:
        mine = replace(mine, data=DeviceData(SampleSelection(str(photos), image_size=9)))
        add(photos, 6)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert renewed(mine, before) is before
    assert "the data have changed and cannot be used: " in caplog.text
    assert "the earlier samples are still used" in caplog.text
    if damage == "gone":
        (tmp_path / "away").rename(photos)
        add(photos, 6)
        assert len(renewed(mine, before).share.data.train) > len(before.share.data.train)


def test_no_training_sample_left_is_no_word_of_leaving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "photos"
    add(photos / "train", 0)
    add(photos / "test", 6)
    mine, before = sat(tmp_path / "press", photos)
    for path in (photos / "train").glob("*/*.png"):
        path.unlink()
    assert renewed(mine, before) is before
    assert caplog.text.count("cannot be used") == 1


def rows(samples: Samples) -> set[bytes]:
    return {each.tobytes() for each in samples.inputs}


def test_who_trains_networks_trains_on_what_is_new(tmp_path: Path) -> None:
    photos = add(tmp_path / "photos", 0, 12)
    mine, before = sat(tmp_path / "press", photos, agreed(algorithm="fedproto", options={}))
    assert isinstance(before.client, Client)
    assert renewed(mine, before) is before
    start = algorithms.load_for_contract(before.contract).start()[1]
    before.client.answer(0, start)
    weights = before.client.weights()
    threads = torch.get_num_threads()
    add(photos, 12, 40)
    after = renewed(mine, before)
    assert isinstance(after.client, Client)
    data, old = after.share.data, before.share.data
    assert len(data.train) + len(data.test) == 52
    assert rows(old.train) <= rows(data.train)  # who was trained on is never tested on
    assert rows(old.test) <= rows(data.test)
    assert len(data.test) > len(old.test)
    assert all(np.array_equal(each, weights[n]) for n, each in after.client.weights().items())
    assert torch.get_num_threads() == threads
    assert after.client.answer(1, start).report.train_samples == len(data.train)
    add(photos, 52, 8)
    third = renewed(mine, after).share.data
    assert rows(data.train) <= rows(third.train)
    assert rows(data.test) <= rows(third.test)


def test_a_private_one_pays_for_what_is_new(tmp_path: Path) -> None:
    photos = add(tmp_path / "photos", 0, 12)
    privacy = PrivacySettings(noise=2.0, clip=1.0, delta=1e-3)
    wanted = agreed(algorithm="fedproto", options={}, privacy=privacy)
    mine, before = sat(tmp_path / "press", photos, wanted, "hcnn1")
    start = algorithms.load_for_contract(wanted).start()[1]
    first = before.client.release(0, start)
    add(photos, 12, 40)
    after = renewed(mine, before)
    assert after is not before
    second = after.client.release(0, start)
    assert first is not None
    assert second is not None
    assert second.name != first.name
    assert second.cost != first.cost


def aged(photos: Path, days: dict[str, float]) -> None:
    for path in photos.glob("*/*.png"):
        then = time.time() - 86_400 * days.get(path.stem, 0)
        os.utime(path, (then, then))


def bounded(photos: Path, **bounds: Any) -> DeviceData:
    return DeviceData(SampleSelection(str(photos), **bounds))


def counted(brought: DeviceData) -> int:
    data = brought.samples_for(NAMES, SHAPE).data
    return len(data.train) + len(data.test)


def test_the_newest_photos_count(tmp_path: Path) -> None:
    photos = add(tmp_path / "photos", 0, 20)
    aged(photos, {str(number): 20 - number for number in range(20)})
    assert counted(bounded(photos)) == 20
    assert counted(bounded(photos, most_samples=8)) == 8
    assert counted(bounded(photos, most_samples=80)) == 20
    assert counted(bounded(photos, max_age_days=5.5)) == 5
    assert counted(bounded(photos, max_age_days=5.5, most_samples=3)) == 3
    with pytest.raises(NoSamplesError, match="has no samples yet"):
        bounded(photos, max_age_days=0.5).samples_for(NAMES, SHAPE)
    newest = add(tmp_path / "newest", 12, 8)
    wanted = DeviceData(SampleSelection(str(newest))).samples_for(NAMES, SHAPE).data
    found = bounded(photos, most_samples=8).samples_for(NAMES, SHAPE).data
    assert rows(found.train) | rows(found.test) == rows(wanted.train) | rows(wanted.test)


def test_who_grows_old_counts_no_more(tmp_path: Path) -> None:
    photos = add(tmp_path / "photos", 0, 20)
    brought = bounded(photos, max_age_days=5.5)
    assert counted(brought) == 20
    assert not brought.anew()
    aged(photos, {str(number): 20 - number for number in range(20)})
    assert brought.anew()
    assert counted(brought) == 5


def test_only_photos_have_bounds(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.most_samples: applies to a folder of photos"):
        DeviceData(SampleSelection("fashion-sample", most_samples=5))
    with pytest.raises(ConfigError, match=r"data.max_age_days: applies to a folder of photos"):
        bounded(add(tmp_path, 0), max_age_days=5, partition=Partition("iid"))


def test_a_half_written_photo_is_taken_when_it_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = add(tmp_path / "photos", 0, 12)
    add(tmp_path / "source", 12, 1, names=("ok", "ok"))
    (content,) = [path.read_bytes() for path in (tmp_path / "source").rglob("*.png")]
    mine, before = sat(tmp_path / "press", photos, agreed(algorithm="fedproto", options={}))
    (photos / "ok" / "new.png").write_bytes(content[: len(content) // 2])
    after = renewed(mine, before)
    assert "left out: 1 that cannot be read, such as" in caplog.text
    (photos / "ok" / "new.png").write_bytes(content)
    last = renewed(mine, after)
    sizes = [len(s.share.data.train) + len(s.share.data.test) for s in (before, after, last)]
    assert sizes == [12, 12, 13]


@pytest.mark.broker
@pytest.mark.parametrize("algorithm", ["fedproto", "class-statistics"])
def test_a_device_without_samples_waits_for_some(
    tmp_path: Path,
    broker: BrokerSettings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    monkeypatch.setattr(joining, "LOOK_SECONDS", 0.2)
    photos = tmp_path / "photos"
    photos.mkdir()
    changes = {} if algorithm == "class-statistics" else {"algorithm": algorithm, "base": None}
    scene = Scene(tmp_path / "scene", broker, ("a",), 2, changes)
    table = {**scene.device_table("a"), "data": {"source": str(photos)}}
    device = parse(table, DeviceSettings, "a")
    with scene.aggregator() as running, at_work(device, lambda arrival: False) as at:
        wait_until(lambda: "waits for samples: data.source: has no samples yet" in caplog.text)
        add(photos, 0, 30, names=("Bag", "Coat"), side=28)
        at.ended.result(200)
        assert running.process.wait(200) == 0, running.said()
    assert scene.summary()["rounds"] == 2


@pytest.mark.broker
def test_over_mqtt(tmp_path: Path, broker: BrokerSettings) -> None:
    """Photos arrive when round 1 opens; what is known then is as of all of them from the start."""
    kind: dict[str, Any] = {"names": ("Bag", "Coat"), "side": 28}
    photos = add(tmp_path / "photos", 0, **kind)

    def arrives(arrival: Arrival) -> bool:
        if arrival.topic == round_topic(TASK):
            opening = Opening.model_validate_json(arrival.payload)
            if opening.round == 1:
                add(photos, 6, 30, **kind)
        return False

    found = []
    for rounds_, last in ((2, arrives), (1, lambda arrival: False)):
        scene = Scene(tmp_path / f"{rounds_}", broker, ("a",), rounds_)
        table = {**scene.device_table("a"), "data": {"source": str(photos)}}
        device = parse(table, DeviceSettings, "a")
        with scene.aggregator() as running, at_work(device, last) as at:
            at.ended.result(200)
            assert running.process.wait(200) == 0, running.said()
        found.append(scene.summary())
        assert scene.command("aggregator", "--forget").returncode == 0
    assert found[0]["knowledge_sha256"] == found[1]["knowledge_sha256"]
