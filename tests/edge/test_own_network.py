"""A device's own network beside class statistics: trained at the end, in its file if it helps."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent import statistics_client
from edge.agent.predict import open_model
from edge.agent.settings import DataSettings, DeviceSettings, TrainingSettings
from edge.agent.task_client import TaskClient
from edgeloop import algorithms
from edgeloop.data import ClientData, DeviceSamples
from edgeloop.errors import ModelError
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.mixing.experts import Mix
from tests.bases.tiny import tiny_base
from tests.gaussian.test_client import CLASSES, SHAPE, drawn, exchanged
from tests.world import contract

BASE = tiny_base(SHAPE, 2)
"""It leaves so little of an image that a network sees more."""


def half(
    folder: Path,
    architecture: str = "resnet4",
    pixels: bool = False,
    mix: Mix = "auto",
    **options: Any,
) -> TaskClient:
    task = contract(
        algorithm="class-statistics",
        options={
            **{"base_sha256": BASE.identity, "dims": BASE.dims, "network": True},
            **{"network_rounds": 10, "local_lr": 0.05, **options},
        },
        class_names=tuple("abcd"),
        shape=SHAPE,
        rounds=1,
        batch_size=4,
    )
    settings = DeviceSettings(
        name="one",
        task="t",
        folder=folder,
        data=DataSettings(source="fashion-sample"),
        training=TrainingSettings(architecture=architecture, mix=mix),
    )
    labels, tests = np.arange(120) % CLASSES, np.arange(60) % CLASSES
    data = ClientData(drawn(1, labels), drawn(2, tests))
    return statistics_client.make_client(task, settings, DeviceSamples(data, pixels), BASE)


def _client(made: TaskClient) -> StatisticsClient:
    assert isinstance(made.client, StatisticsClient)
    return made.client


@pytest.mark.parametrize("pixels", [False, True])
def test_the_file_has_what_joined(
    tmp_path: Path, pixels: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edge")
    made = half(tmp_path, pixels=pixels)
    bound = algorithms.base_options("class-statistics", BASE)
    algorithm = algorithms.load("class-statistics", classes=CLASSES, **bound)
    broadcast = exchanged(algorithm, [_client(made)])
    final = made.finalize(broadcast)
    assert final.mix is not None
    assert (
        f"the shared classifier has weight {final.mix['weight']:.2f} beside its own" in caplog.text
    )
    assert f"mixed {final.mix['mixed']:.4f}" in caplog.text
    assert "a network of its own joins: " in caplog.text
    network = final.mix["network"]
    assert network["joins"], network
    assert final.mix["mixed"] > network["without"] + 0.1
    path = tmp_path / "model.onnx"
    assert final.export(path, broadcast, {"run": "r"}) < 1e-3
    tests = drawn(2, np.arange(60) % CLASSES)
    read = (tests.inputs + 1) * np.float32(127.5) if pixels else tests.inputs
    right = (open_model(path).scores(read).argmax(1) == tests.labels).mean()
    assert right == pytest.approx(final.mix["mixed"])
    assert made.architecture.endswith(", resnet4")


def test_an_architecture_that_does_not_fit_is_refused_before_the_first_round(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelError, match="mlp: does not fit inputs of shape"):
        half(tmp_path, "mlp")


@pytest.mark.parametrize("mix", ["never", "auto"])
def test_who_never_mixes_has_no_gate(tmp_path: Path, mix: Mix) -> None:
    """Its own weight is a part of class statistics whatever `mix` says."""
    made = half(tmp_path, mix=mix, network=False)
    algorithm = algorithms.load("class-statistics", classes=CLASSES, dims=BASE.dims)
    final = made.finalize(exchanged(algorithm, [_client(made)]))
    assert final.mix is not None
    assert (final.held_out is None) == (mix == "never")
