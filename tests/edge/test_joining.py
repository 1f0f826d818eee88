"""A device joins a task as it is: its own folders, classes and sizes; a refusal is not the end."""

# Over 320 lines: every case is one agent that joins, with one thing different.

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from edge.agent.settings import DataSettings, DeviceSettings, PolicySettings, TrainingSettings
from edge.agent.task_session import load_context, open_session
from edgeloop import data
from edgeloop.data import DeviceData, Partition, Pool, SampleSelection
from edgeloop.data.classes import class_numbers
from edgeloop.errors import ConfigError, DataError, MisfitError, NoSamplesError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import Contract, contract_topic
from edgeloop.runtime.config import BrokerSettings, PrivacySettings
from tests.devices import at_work, wait_until
from tests.one_device import DEVICE, NAME, Task, aggregator, write_data
from tests.world import StartBroker, contract

TASK = ("ok", "scratch", "dent")
SHAPE = (1, 8, 8)


def picture(path: Path, value: int = 100, size: tuple[int, int] = (8, 8), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


def pictures(folder: Path, counts: dict[str, int], **kind: Any) -> Path:
    for name, count in counts.items():
        for number in range(count):
            picture(folder / name / f"{number}.png", **kind)
    return folder


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (TASK, [0, 1, 2]),
        (("dent", "ok", "scratch"), [2, 0, 1]),
        (("dent",), [2]),
        (("scratch", "ok"), [1, 0]),
        (("0", "1", "2"), [0, 1, 2]),
        (("0", "2"), [0, 2]),
    ],
)
def test_classes_are_numbered_by_name(names: Sequence[str], numbers: list[int]) -> None:
    assert class_numbers(names, TASK).tolist() == numbers


def test_names_that_a_folder_cannot_have_or_writes_otherwise() -> None:
    assert class_numbers(["T-shirt_top"], ["Bag", "T-shirt/top"]).tolist() == [1]
    assert class_numbers(["Gro\u0308\u00dfe"], ["klein", "Gr\u00f6\u00dfe"]).tolist() == [1]
    assert class_numbers(["9", "1"], ["0", "1", "9"]).tolist() == [2, 1]  # numbers that are names
    assert class_numbers(["a_b", "a/b"], ["a/b", "a_b"]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (
            ("ok", "dnet"),
            "its class 'dnet' is none of the task's .ok, scratch, dent.; .* mean dent",
        ),
        (("OK",), "its class 'OK' is none of the task's .*; did you mean ok"),
        (("zebra",), "its class 'zebra' is none of .*; rename it, or have the task take it in"),
        (("0", "1", "2", "3"), "its classes have no names, and the numbers 0 to 3; name them as"),
        (("1", "ok"), "its class '1' is none"),
    ],
)
def test_a_class_that_the_task_lacks_is_named(names: Sequence[str], sentence: str) -> None:
    with pytest.raises(MisfitError, match=f"data.source: {sentence}"):
        class_numbers(names, TASK)


def test_a_class_without_samples_does_not_matter() -> None:
    assert class_numbers(["ok", "zebra", "dent"], TASK, held=[0, 2]).tolist() == [0, -1, 2]


EMPTY: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "classes without photos": lambda folder: (folder / "ok").mkdir(),
    "hidden files": lambda folder: (folder / ".DS_Store").touch(),
    "half a photo": lambda folder: half(folder),
}


def half(folder: Path) -> None:
    pictures(folder, {"ok": 1})
    (photo,) = folder.rglob("*.png")
    photo.write_bytes(photo.read_bytes()[:40])


@pytest.mark.parametrize("what", EMPTY)
def test_who_has_no_samples_yet_has_some_later(tmp_path: Path, what: str) -> None:
    EMPTY[what](tmp_path)
    brought = DeviceData(SampleSelection(str(tmp_path)))
    with pytest.raises(NoSamplesError):
        brought.samples_for(TASK, SHAPE)
    assert not brought.anew()
    pictures(tmp_path, {"scratch": 8})
    assert brought.anew()
    assert len(brought.samples_for(TASK, SHAPE).data.train) == 6


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        DeviceData(SampleSelection(str(tmp_path / "photoz")))


def brings(source: Path, shape: tuple[int, ...] = SHAPE, **choice: Any) -> data.DeviceSamples:
    return DeviceData(SampleSelection(str(source), **choice)).samples_for(TASK, shape)


def test_a_folder_of_photos_is_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder = pictures(tmp_path, {"scratch": 12, "ok": 8}, size=(31, 17), mode="RGB")
    share = brings(folder)
    assert share.pixels
    assert share.data.train.inputs.shape == (15, *SHAPE)
    assert share.data.test.inputs.shape == (5, *SHAPE)
    labels = np.concatenate([share.data.train.labels, share.data.test.labels])
    assert np.bincount(labels).tolist() == [8, 12]
    assert "has 15 training and 5 test samples, of 2 of the task's 3 classes" in caplog.text
    assert brings(folder, (3, 5, 9)).data.train.inputs.shape == (15, 3, 5, 9)


def test_a_folders_own_parts_are_kept(tmp_path: Path) -> None:
    pictures(tmp_path / "train", {"dent": 6, "ok": 1})
    pictures(tmp_path / "test", {"ok": 2})
    share = brings(tmp_path)
    assert share.data.train.labels.tolist() == [2] * 6 + [0]
    assert share.data.test.labels.tolist() == [0] * 2


@pytest.mark.parametrize(("parts", "train", "test"), [(("train",), 6, 2), (("test",), 6, 2)])
def test_one_part_alone_is_divided(
    tmp_path: Path, parts: tuple[str, ...], train: int, test: int
) -> None:
    for part in parts:
        pictures(tmp_path / part, {"ok": 8})
    share = brings(tmp_path)
    assert (len(share.data.train), len(share.data.test)) == (train, test)


def test_an_empty_test_part_is_no_test_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path / "train", {"ok": 4})
    (tmp_path / "test" / "ok").mkdir(parents=True)
    share = brings(tmp_path)
    assert (len(share.data.train), len(share.data.test)) == (4, 0)
    assert "no test samples" in caplog.text


def test_one_picture_is_trained_on(tmp_path: Path) -> None:
    share = brings(pictures(tmp_path, {"dent": 1}))
    assert (share.data.train.labels.tolist(), len(share.data.test)) == ([2], 0)


def test_photos_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:2] = 255  # a white bar on top
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))  # as a camera on its side
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "ok").mkdir()
    turned.save(tmp_path / "ok" / "0.jpg", exif=exif, quality=100)
    seen_HW = brings(tmp_path).data.train.inputs[0, 0]
    assert seen_HW[0].min() > 0.9
    assert seen_HW[4:].max() < -0.9


def encoded(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (10, 6), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_parquet_files_names_are_the_schemas(tmp_path: Path) -> None:
    cells = {"image": [encoded(each) for each in range(8)], "label": [0, 1] * 4}
    info = {"info": {"features": {"label": {"names": ["dent", "ok", "zebra"]}}}}
    table = pa.table(cells).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, tmp_path / "train.parquet")
    pq.write_table(table.slice(0, 2), tmp_path / "test.parquet")
    share = brings(tmp_path)
    assert share.data.train.inputs.shape == (8, *SHAPE)
    assert share.data.train.labels.tolist() == [2, 0] * 4
    assert share.data.test.labels.tolist() == [2, 0]


def test_a_parquet_files_split_column_is_kept(tmp_path: Path) -> None:
    splits = ["test", "train", "train", "test"]
    cells = {"image": [encoded(9)] * 4, "label": [0, 1, 2, 0], "split": splits}
    pq.write_table(pa.table(cells), tmp_path / "all.parquet")
    share = brings(tmp_path)
    assert share.data.train.labels.tolist() == [1, 2]
    assert share.data.test.labels.tolist() == [0, 0]


def folder_of_files(folder: Path, names: tuple[str, ...], labels: Sequence[int]) -> Path:
    pool = Pool(np.zeros((len(labels), *SHAPE), np.uint8), np.array(labels), names)
    return data.write(data.split(pool, Partition("iid", clients=1)), folder)


def test_a_folder_with_one_file_per_client(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    share = brings(folder_of_files(tmp_path / "named", ("dent", "ok"), [0, 1] * 8))
    assert set(share.data.train.labels.tolist()) == {0, 2}
    assert "no names" not in caplog.text
    brings(folder_of_files(tmp_path / "plain", ("0", "1", "2"), [0, 1, 2] * 8))
    assert "the classes of the data have no names: their numbers are taken" in caplog.text
    with pytest.raises(MisfitError, match=r"shape \(1, 8, 8\), the task's \(1, 9, 9\)"):
        brings(tmp_path / "named", (1, 9, 9))
    with pytest.raises(DataError, match="client 3: does not exist"):
        DeviceData(SampleSelection(str(tmp_path / "named"), client=3))


def test_the_embedded_sample_is_all_one_devices() -> None:
    names = data.read("fashion-sample").class_names
    share = DeviceData(SampleSelection("fashion-sample")).samples_for(
        tuple(reversed(names)), (1, 28, 28)
    )
    assert (len(share.data.train), len(share.data.test)) == (4500, 1500)
    same = DeviceData(SampleSelection("fashion-sample")).samples_for(names, (1, 28, 28))
    assert share.data.train.labels.tolist() == (9 - same.data.train.labels).tolist()


def test_a_partition_is_dealt_out_as_before() -> None:
    asked = Partition("dirichlet", clients=20)
    expected = data.load("fashion-sample", asked).client(3)
    names = data.read("fashion-sample").class_names
    share = DeviceData(SampleSelection("fashion-sample", 3, asked)).samples_for(names, (1, 28, 28))
    for ours, theirs in ((share.data.train, expected.train), (share.data.test, expected.test)):
        assert np.array_equal(ours.inputs, theirs.inputs)
        assert np.array_equal(ours.labels, theirs.labels)


def test_what_can_be_seen_without_a_task_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        DeviceData(SampleSelection(str(tmp_path / "nowhere")))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="unknown layout"):
        DeviceData(SampleSelection(str(tmp_path)))
    with pytest.raises(
        ConfigError, match=r"data\.client: 1, but without a partition the only client"
    ):
        DeviceData(SampleSelection(str(pictures(tmp_path, {"ok": 2})), client=1))
    with pytest.raises(MisfitError, match=r"holds pictures, and the task's .* \(9, 1, 128\)"):
        brings(tmp_path, (9, 1, 128))


def settings(task: Task, **changes: Any) -> DeviceSettings:
    return task.device().model_copy(update=changes)


def publish(broker: BrokerSettings, *contracts: Contract) -> None:
    with MqttConnection(broker, "somebody", []) as connection:
        for each in contracts:
            connection.publish(contract_topic(each.task), each.text().encode(), retain=True)
        assert connection.flush(10)


def misfits(names: tuple[str, ...]) -> dict[str, tuple[dict[str, Any], str]]:
    private = PrivacySettings(delta=0.5)
    return {
        "shape": ({"shape": (3, 9, 9)}, "its inputs have the shape (1, 28, 28), the task's (3, 9"),
        "invited": ({"devices": ("two",)}, f"{DEVICE} is not invited to {NAME}; add it to the"),
        "privacy": ({"privacy": private}, "the task's delta is 0.5, this device allows 0.001"),
        "classes": ({"class_names": names[1:]}, f"its class {names[0]!r} is none of the task's"),
        "alike": ({"algorithm": "fedavg"}, "fedavg averages whole models"),
        "model": ({"algorithm": "fedbest"}, "there is no 'fedbest'"),
        "signatures": ({"signatures": "required"}, "and this device signs nothing; enrol it"),
    }


@pytest.mark.broker
@pytest.mark.parametrize("why", misfits(("a",)))
def test_a_refused_contract_is_told_once_and_the_next_one_is_heard(
    tmp_path: Path, broker: BrokerSettings, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    names = data.load(task.source).class_names
    changes, sentence = misfits(names)[why]
    fields: dict[str, Any] = {"task": NAME, "class_names": names, "devices": (DEVICE,)}
    refused = contract(**{**fields, "run": "refused", **changes})
    told = f"cannot take part in run refused of {NAME}: "

    def said() -> list[str]:
        return [each.message for each in caplog.records if told in each.message]

    with at_work(task.device()) as device:
        publish(broker, refused, refused)
        wait_until(lambda: bool(said()))
        assert sentence in said()[0]
        with aggregator(task):
            summary = json.loads(device.ended.result(60).read_text())
    assert summary["run"] != "refused"
    assert len(said()) == 1
    with MqttConnection(broker, f"edgeloop.{NAME}.{DEVICE}", []) as connection:
        assert connection.receive(0.5) is None  # nothing of it is left to be delivered again


@pytest.mark.broker
def test_a_device_with_part_of_the_classes_and_no_test_samples(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    pictures(tmp_path / "photos" / "train", {"Bag": 7, "Ankle boot": 6}, size=(40, 30), mode="RGB")
    (tmp_path / "photos" / "test").mkdir()
    source = DataSettings(source=str(tmp_path / "photos"))
    with aggregator(task) as running:
        with at_work(settings(task, data=source)) as device:
            summary = json.loads(device.ended.result(60).read_text())
        assert running.process.wait(60) == 0
    assert summary["test_samples"] == 0
    assert set(summary["accuracy_by_round"].values()) == {None}
    assert summary["onnx_difference"] < 0.01
    assert task.summary()["accuracy_by_device"] == {DEVICE: None}


@pytest.mark.broker
def test_a_device_with_less_than_a_batch_only_evaluates(
    tmp_path: Path, broker: BrokerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    task = Task(tmp_path, write_data(tmp_path / "data"), broker, None, "fedproto", {})
    source = DataSettings(source=str(pictures(tmp_path / "photos", {"Bag": 8})))
    with aggregator(task) as running:
        with at_work(settings(task, data=source)) as device:
            summary = json.loads(device.ended.result(60).read_text())
        assert running.process.wait(60) == 0
    assert "6 training samples make no batch of 10: this device only evaluates" in caplog.text
    assert summary["train_samples"] == 6


@pytest.mark.broker
def test_a_new_run_keeps_the_model_of_the_run_before(
    tmp_path: Path, start_broker: StartBroker
) -> None:
    source = write_data(tmp_path / "data")
    device = tmp_path / "device"
    runs: list[str] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        task = Task(tmp_path / name, source, start_broker().settings, None, "fedproto", {})
        with aggregator(task), at_work(settings(task, folder=device)) as working:
            runs.append(json.loads(working.ended.result(60).read_text())["run"])
    kept = device / "previous" / runs[0]
    assert sorted(each.name for each in kept.iterdir()) == [
        "model.onnx",
        "state.safetensors",
        "summary.json",
    ]
    assert json.loads((device / "summary.json").read_text())["run"] == runs[1]


@pytest.mark.parametrize("source", ["photos", "fashion-sample"])
def test_a_seat_needs_a_source_and_no_more(tmp_path: Path, source: str) -> None:
    where = source if source == "fashion-sample" else str(tmp_path / source)
    pictures(tmp_path / "photos", {"Bag": 20})
    mine = DeviceSettings(
        name="one",
        task="t",
        folder=tmp_path / "device",
        data=DataSettings(source=where),
        training=TrainingSettings(threads=1),
        privacy=PolicySettings(),
    )
    agreed = contract(class_names=data.read("fashion-sample").class_names)
    assert len(open_session(load_context(mine), agreed).share.data.train) in (15, 4500)
