"""Classifiers on bases of other versions of ONNX, and on features that hardly vary."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.agent import onnx_form, statistics_client
from edge.agent.predict import open_model
from edge.agent.settings import DataSettings, DeviceSettings, TrainingSettings
from edge.agent.task_client import NoKnowledgeError, TaskClient
from edgeloop import algorithms
from edgeloop.algorithm import Algorithm
from edgeloop.bases.running import Base
from edgeloop.data import ClientData, DeviceSamples
from edgeloop.data.samples import Samples
from edgeloop.gaussian import exporting
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.mixing import weighing
from edgeloop.models.tracing import OPSET
from tests.bases.tiny import tiny_base
from tests.gaussian.test_client import CLASSES, SHAPE, drawn, exchanged
from tests.world import contract

DIMS = 30


def base(opset: int = 17, ir: int = 9, mean: float = 0.0, deviation: float = 1.0) -> Base:
    """Return a base of an extractor of another version, or of features that hardly vary."""
    size = int(np.prod(SHAPE))
    weights = np.random.default_rng(0).standard_normal((size, DIMS)) * deviation / np.sqrt(size)
    nodes = [
        helper.make_node("Flatten", ["inputs"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "mean"], ["features"]),
    ]
    inputs = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["N", *SHAPE])
    outputs = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", DIMS])
    constants = [
        numpy_helper.from_array(weights.astype(np.float32), "weights"),
        numpy_helper.from_array(np.full(DIMS, mean, np.float32), "mean"),
    ]
    graph = helper.make_graph(nodes, "base", [inputs], [outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir
    return Base(model.SerializeToString())


def loaded(found: Base, **options: Any) -> Algorithm[Any, Any, Any]:
    bound = algorithms.base_options("class-statistics", found)
    return algorithms.load("class-statistics", classes=CLASSES, **bound, **options)


def crew(found: Base, first: Samples, **options: Any) -> tuple[StatisticsClient, Any]:
    """Return a client with these samples, and what an exchange with three others leads to."""
    algorithm, tests = loaded(found, **options), drawn(99, np.arange(40) % CLASSES)
    shares = [first, *(drawn(seed, [0, 1, 2, 3] * 4) for seed in range(3))]
    assert algorithm.make_client is not None
    made = [
        algorithm.make_client(f"c{number}", found, ClientData(each, tests))
        for number, each in enumerate(shares)
    ]
    return made[0], exchanged(algorithm, made)


def check_alike(found: Base, inputs: Any, folder: Path, first: Samples, **options: Any) -> None:
    """Check that a client's exported classifier says what the client says."""
    client, broadcast = crew(found, first, **options)
    content = exporting.classifier(
        found.graph,
        client.mixture(broadcast),
        found.variances_D,
        cosine=options.get("form") == "cosine",
        pixels=False,
        shape=SHAPE,
        names=("images", "scores"),
        centre_D=client.centre(broadcast),
    )
    path = folder / "model.onnx"
    path.write_bytes(
        onnx_form.completed(
            onnx.load_from_string(content),
            class_names=list("abcd"),
            shape=SHAPE,
            pixels=False,
            facts={},
        )
    )
    wanted = client.scores(inputs, broadcast)
    most = max(1.0, float(np.abs(wanted).max()))
    assert np.abs(open_model(path).scores(inputs) - wanted).max() < 1e-3 * most


@pytest.mark.parametrize("options", [{}, {"own": "gaussian"}, {"form": "cosine"}])
@pytest.mark.parametrize(("opset", "ir"), [(9, 3), (10, 9), (12, 9), (18, 9), (21, 10)])
def test_on_a_base_of_any_version(
    opset: int, ir: int, options: dict[str, Any], tmp_path: Path
) -> None:
    inputs = drawn(99, np.arange(40) % CLASSES).inputs
    check_alike(base(opset, ir), inputs, tmp_path, drawn(7, [0, 1, 2, 3] * 4), **options)


@pytest.mark.parametrize("own", ["kernel", "gaussian"])
@pytest.mark.parametrize(("mean", "deviation"), [(60, 1), (1, 1e-2), (10, 1e-2), (1, 1e-3)])
def test_on_features_that_hardly_vary(
    mean: float, deviation: float, own: str, tmp_path: Path
) -> None:
    """In single precision the squares of large numbers that are nearly alike would cancel out."""
    inputs = drawn(99, np.arange(40) % CLASSES).inputs
    narrow, first = base(mean=mean, deviation=deviation), drawn(7, [0, 1, 2, 3] * 4)
    check_alike(narrow, inputs, tmp_path, first, own=own)


@pytest.mark.parametrize("spread", [0.0, 1e-5, 1e-3])
def test_of_samples_that_are_nearly_one(spread: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((10, *SHAPE))
    alike = (drawn(3, [0]).inputs + spread * noise).astype(np.float32)
    check_alike(base(mean=5.0), alike, tmp_path, Samples(alike, np.arange(10) % 2))


def half(folder: Path, found: Base, **options: Any) -> TaskClient:
    bound = {"base_sha256": found.identity, "dims": found.dims, **options}
    task = contract(
        algorithm="class-statistics",
        options=bound,
        class_names=tuple("abcd"),
        shape=SHAPE,
        rounds=1,
        batch_size=4,
    )
    source = DataSettings(source="fashion-sample")
    training = TrainingSettings(architecture="resnet4")
    settings = DeviceSettings(name="one", task="t", folder=folder, data=source, training=training)
    data = ClientData(drawn(1, np.arange(80) % CLASSES), drawn(2, np.arange(40) % CLASSES))
    return statistics_client.make_client(task, settings, DeviceSamples(data, False), found)


@pytest.mark.parametrize("opset", [9, 12, OPSET, 20])
def test_a_network_beside_it_is_of_one_version_with_it(
    opset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weighing, "joins", lambda *scores: True)
    found = base(opset, mean=3.0)
    options = {"network": True, "network_rounds": 8, "local_lr": 0.05}
    made = half(tmp_path, found, **options)
    broadcast = exchanged(loaded(found, **options), [made.client])  # type: ignore[list-item]
    final = made.finalize(broadcast)
    assert final.mix is not None
    assert final.mix["network"]["joins"]
    assert final.export(tmp_path / "model.onnx", broadcast, {"run": "r"}) < 1e-2


def test_a_base_that_nothing_can_be_built_on_ends_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has taken part, and says why it has no file."""
    caplog.set_level(logging.INFO, "edge")
    found = tiny_base(SHAPE, 3)
    made = half(tmp_path, found)
    broadcast = exchanged(loaded(found), [made.client])  # type: ignore[list-item]
    odd = onnx.load_from_string(found.graph)
    odd.graph.node[0].op_type = "NoSuchOperator"
    monkeypatch.setattr(found, "_graph", odd.SerializeToString())
    with pytest.raises(NoKnowledgeError, match="no classifier can be built on the task's base"):
        made.finalize(broadcast).export(tmp_path / "model.onnx", broadcast, {"run": "r"})
    assert not (tmp_path / "model.onnx").exists()
