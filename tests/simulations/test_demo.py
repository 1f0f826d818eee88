"""The demo, on a scale that a test can wait for."""

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.cli.main import main
from edgeloop.errors import BrokerError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.runtime import local_broker
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.local_broker import Broker
from edgeloop.runtime.ports import free_port
from simulations.demo import dealing
from simulations.demo.broker import run_broker
from simulations.demo.stage import DemoTask


def test_the_embedded_broker_keeps_what_late_devices_need(tmp_path: Path) -> None:
    port = free_port()
    with run_broker(local_broker.embedded_broker(tmp_path, port), tmp_path / "log", port):
        settings = BrokerSettings(port=port)
        with MqttConnection(settings, "server", ["up/+"], presence="presence") as server:
            server.publish("contract", b"retained", retain=True)
            server.send("large", b"x" * 300_000)
            assert server.flush(10)
            with MqttConnection(settings, "device", ["contract", "presence"]) as device:
                found = [device.receive(5), device.receive(5)]
                payloads = {a.topic: a.payload for a in found if isinstance(a, Arrival)}
                assert payloads == {"contract": b"retained", "presence": b"online"}
                device.publish("up/device", b"answer")
                answer = server.receive(5)
                assert isinstance(answer, Arrival)
                assert answer.payload == b"answer"
                answer.acknowledge()


@pytest.mark.parametrize("inside", ["", "demo"])
def test_a_file_is_no_folder_for_a_demo(
    inside: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--out", str(tmp_path / "file" / inside)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: folder {tmp_path / 'file' / inside}: cannot be written (")


def test_a_broker_that_ends_at_once_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulations.demo.broker.LONGEST_SECONDS", math.inf)
    ending = Broker("ending", (sys.executable, "-c", ""))
    with (
        pytest.raises(BrokerError, match=r"does not start; see .*log"),
        run_broker(ending, tmp_path / "log", free_port()),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    ("more", "accuracy"), [({}, 0.5), ({"gate": {"keeps": "old"}}, 0.75), ({"onnx": None}, 0.75)]
)
def test_a_mixture_that_is_not_in_use_does_not_count(
    tmp_path: Path, more: dict[str, Any], accuracy: float
) -> None:
    federation: Any = None
    stage = DemoTask(tmp_path, federation, ["cnn"], 1, 0, tmp_path)
    summary = {"accuracy_by_round": {"1": 0.75}, "mix": {"mixed": 0.5}, "onnx": "m", **more}
    for name in (*stage.names, "aggregator"):
        (tmp_path / name).mkdir()
    (tmp_path / stage.names[0] / "summary.json").write_text(json.dumps(summary))
    together = {"accuracy_by_round": [0.1, 0.75]}
    (tmp_path / "aggregator" / "summary.json").write_text(json.dumps(together))
    assert stage.accuracy(0) == stage.final_accuracy() == accuracy
    assert stage.network_accuracy() == (None if more else 0.75)


@pytest.mark.broker
def test_two_devices_one_round(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a demo"
    arguments = ["--rounds", "1", "--devices", "2", "--group", "resnet4,cnn", "--out", str(out)]
    assert main(["demo", *arguments]) == 0
    said = capfd.readouterr().out
    assert "broker: Mosquitto" in said
    together = json.loads((out / "aggregator" / "summary.json").read_text())
    assert len(together["accuracy_by_round"]) == 2
    for number, architecture in enumerate(("resnet4", "cnn")):
        summary = json.loads((out / f"device-{number}" / "summary.json").read_text())
        assert summary["architecture"] == architecture
        assert summary["onnx_difference"] < 0.01
        assert f"{summary['mix']['mixed']:.3f}" in said
    assert f"its own networks reach {together['accuracy_by_round'][1]:.3f} (round 1)" in said
    assert "aking part" in said
    once = json.loads((out / "statistics" / "aggregator" / "summary.json").read_text())
    assert once["algorithm"] == "class-statistics"
    assert once["accuracy_by_round"][-1] > once["accuracy_by_round"][0] > 0.4
    assert said.count("over 2 devices with 1,000 test samples each") == 2
    assert "Class statistics, one exchange: " in (out / "report.html").read_text()
    images = sorted(map(str, out.glob("example-*.png")))
    (suggested,) = [line for line in said.splitlines() if line.startswith("try: edgeloop ")]
    assert shlex.split(suggested)[3:] == [
        str(out / "statistics" / "device-0" / "model.onnx"),
        *images,
    ]
    assert main(["predict", str(out / "device-0" / "model.onnx"), *images, "--json"]) == 0
    assert [row["image"] for row in json.loads(capfd.readouterr().out)] == images
    assert main(["demo", *arguments]) == 2
    assert "is not empty; name another folder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            "--devices 50 --images 11",
            "50 devices with 11 images of a class are more than the sample",
        ),
        ("--algorithm class-statistics", "the demo shows it beside any other"),
        ("--algorithm fedtgp --generator digits", "fedtgp asks no generator"),
        ("--algorithm fedavg --group cnn,resnet4", "fedavg averages whole models"),
        ("--generator nope", "there is no generator 'nope'"),
    ],
)
def test_what_the_demo_cannot_show(
    words: str, problem: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *words.split(), "--out", str(tmp_path / "out")]) == 2
    assert problem in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_device_has_as_many_images_of_each_class() -> None:
    dealt = dealing.split_images(10, 2, seed=3)
    assert (dealt.label_counts("train") == 2).all()
    assert (dealt.label_counts("test") == 100).all()
    every = np.concatenate(dealt.train)
    assert len(np.unique(every)) == 200
    assert every.max() < 5000  # none of the test images
    assert dealt.fingerprint() != dealing.split_images(10, 2, seed=4).fingerprint()
