"""What a device exports: one network, and those that were judged with it, in one file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent.final_model import Finalizer
from edge.agent.predict import open_model
from edge.agent.task_client import FinalModel
from edgeloop import algorithms, mixture, models
from edgeloop.client import Client
from edgeloop.data import ClientData, Samples
from edgeloop.mixing.experts import MixingWeights
from edgeloop.mixture import MixedModel
from edgeloop.models.split import SplitModel
from tests.world import contract

SHAPE, CLASSES, WIDTH, BATCH, ROUNDS = (24,), 3, 8, 4, 2


def first() -> SplitModel:
    return models.build("mlp", SHAPE, CLASSES, WIDTH, 0)


def samples(count: int, seed: int) -> Samples:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % CLASSES)
    inputs = random.normal(labels[:, None] - 1.0, 0.9, (count, *SHAPE))
    return Samples(inputs.astype(np.float32), labels)


def exported(
    name: str, count: int, pixels: bool, folder: Path
) -> tuple[Path, FinalModel, MixedModel, ClientData, Any]:
    """Export what a run of one client ends with; return it, and the mixture made again."""
    task = contract(
        algorithm=name,
        options={"architecture": "mlp"} if name == "fedavg" else {},
        class_names=("a", "b", "c"),
        shape=SHAPE,
        width=WIDTH,
        batch_size=BATCH,
        rounds=ROUNDS,
    )
    algorithm: Any = algorithms.load_for_contract(task)
    data = ClientData(samples(count, 1), samples(30, 2))
    client = Client("one", algorithm, first(), data, batch_size=BATCH, seed=0)
    state, broadcast = algorithm.start()
    for number in range(ROUNDS):
        state, broadcast = algorithm.aggregate_uploads(
            state, {"one": client.answer(number, broadcast).upload}
        )
    client.finish(broadcast)
    final = Finalizer(task, "auto", algorithm, client, pixels, first).finalize(broadcast)
    path = folder / "model.onnx"
    assert final.export(path, broadcast, {"run": "r"}) < 1e-3
    options = algorithms.contract_options(task)
    plan = mixture.MixingPlan("auto", ROUNDS, mixture.local_algorithm(name, **options), first, 0)
    found = mixture.train_mixture(plan, client, broadcast)
    return path, final, found, data, broadcast


@pytest.mark.parametrize("name", ["fedproto", "fedavg"])
@pytest.mark.parametrize("weight", [None, 0.0, 0.25, 1.0])
def test_the_file_says_what_was_judged_on_samples_held_out(
    name: str, weight: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if weight is not None:
        asked = MixingWeights(weight, 2.0, 0.5, "said so", 20)
        monkeypatch.setattr("edgeloop.mixing.experts.choose_weights", lambda *_: asked)
    path, final, found, data, broadcast = exported(name, 100, False, tmp_path)
    assert found.weights.held_out == 20
    assert weight is None or found.weights.weight == weight
    wanted = found.scores(data.test.inputs, broadcast)
    assert np.allclose(open_model(path).scores(data.test.inputs), wanted, atol=1e-3)
    assert final.mix is not None
    right = (open_model(path).scores(data.test.inputs).argmax(1) == data.test.labels).mean()
    assert final.mix["mixed"] == pytest.approx(right)


@pytest.mark.parametrize("name", ["fedproto", "fedavg"])
@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("worse", [False, True])
def test_the_file_says_what_the_committee_says(
    name: str, pixels: bool, worse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if worse:  # than alone, beyond chance, whatever the folds say
        monkeypatch.setattr("edgeloop.mixing.experts.is_worse", lambda *_: True)
    path, final, found, data, broadcast = exported(name, 20, pixels, tmp_path)
    assert (found.committee == ()) == worse
    assert found.weights.weight == (0 if worse else 0.5)
    read = (data.test.inputs + 1) * np.float32(127.5) if pixels else data.test.inputs
    wanted = found.scores(data.test.inputs, broadcast)
    assert np.allclose(open_model(path).scores(read), wanted, atol=1e-3)
    assert final.mix is not None
    right = (open_model(path).scores(read).argmax(1) == data.test.labels).mean()
    assert final.mix["mixed"] == pytest.approx(right)
