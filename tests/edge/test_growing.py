"""A device's data grow between two exchanges of class statistics: the new upload is of all."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge.agent.settings import DataSettings, DeviceSettings, TrainingSettings
from edge.agent.task_session import DeviceContext, TaskSession, load_context, open_session, renewed
from edgeloop import algorithms, server_loop
from edgeloop.data import DeviceData, SampleSelection
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.mqtt.connection import Arrival
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract, Opening, round_topic
from edgeloop.runtime.config import BrokerSettings, parse
from tests.bases.tiny import DIMS, tiny_base
from tests.devices import at_work
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
    folder: Path, photos: Path, wanted: Contract | None = None
) -> tuple[DeviceContext, TaskSession]:
    settings = DeviceSettings(
        name="press",
        task="t",
        folder=folder,
        data=DataSettings(source=str(photos)),
        training=TrainingSettings(architecture="resnet4"),
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
    assert "the data have changed, and cannot be used: " in caplog.text
    assert "those from before count" in caplog.text
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


def test_who_trains_networks_keeps_the_data_of_its_run(tmp_path: Path) -> None:
    photos = add(tmp_path / "photos", 0)
    mine, before = sat(tmp_path / "press", photos, agreed(algorithm="fedproto", options={}))
    add(photos, 6)
    assert renewed(mine, before) is before


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
