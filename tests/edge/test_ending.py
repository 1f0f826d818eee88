"""What a device with few samples exports: one network and a committee in one file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent.ending import Ending
from edge.agent.predict import opened
from edgeloop import algorithms, mixture, models
from edgeloop.client import Member
from edgeloop.data import ClientData, Samples
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


@pytest.mark.parametrize("name", ["fedproto", "fedavg"])
@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("worse", [False, True])
def test_the_file_says_what_the_committee_says(
    name: str, pixels: bool, worse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if worse:  # than alone, beyond chance, whatever the folds say
        monkeypatch.setattr("edgeloop.mixing.experts.worse", lambda *_: True)
    task = contract(
        algorithm=name,
        options={"architecture": "mlp"} if name == "fedavg" else {},
        class_names=("a", "b", "c"),
        shape=SHAPE,
        width=WIDTH,
        batch_size=BATCH,
        rounds=ROUNDS,
    )
    algorithm: Any = algorithms.agreed(task)
    data = ClientData(samples(20, 1), samples(30, 2))
    member = Member("one", algorithm, first(), data, batch_size=BATCH, seed=0)
    state, broadcast = algorithm.start()
    for number in range(ROUNDS):
        state, broadcast = algorithm.learn(state, {"one": member.answer(number, broadcast).upload})
    member.finish(broadcast)
    settled = Ending(task, "auto", algorithm, member, pixels, first).settle(broadcast)
    path = tmp_path / "model.onnx"
    assert settled.export(path, broadcast, {"run": "r"}) < 1e-3
    options = algorithms.agreed_options(task)
    plan = mixture.Plan("auto", ROUNDS, mixture.local(name, **options), first, 0)
    found = mixture.made(plan, member, broadcast)
    assert (found.committee == ()) == worse
    assert found.choice.weight == (0 if worse else 0.5)
    read = (data.test.inputs + 1) * np.float32(127.5) if pixels else data.test.inputs
    wanted = found.scores(data.test.inputs, broadcast)
    assert np.allclose(opened(path).scores(read), wanted, atol=1e-3)
    assert settled.mix is not None
    right = (opened(path).scores(read).argmax(1) == data.test.labels).mean()
    assert settled.mix["mixed"] == pytest.approx(right)
