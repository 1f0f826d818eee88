"""The device's own class prior: whose it is, what it changes, and where it goes along."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from cloud.aggregator.service import serve
from cloud.aggregator.settings import TaskSettings
from edge.agent.export import Classifier, check, export
from edge.agent.predict import open_model
from edgeloop import algorithms, data, models
from edgeloop.algorithm import Algorithm, Batches
from edgeloop.client import Answer, Client
from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.stacked import StackedCohort
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.errors import ConfigError
from edgeloop.knowledge.prototypes import GlobalPrototypes
from edgeloop.models import SplitModel
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.runtime import config
from edgeloop.runtime.config import BrokerSettings, PrivacySettings
from tests.devices import at_work
from tests.one_device import ARCHITECTURE, ROUNDS, Task, simulated, write_data

KIN = ("fedorgp", "fedproto", "fedtgp", "tinyproto")
"""The algorithms that predict by prototypes."""

CLASSES, SIZE = 3, 2
CPU = torch.device("cpu")
PROTOTYPES = GlobalPrototypes(
    np.array([True, True, False]), np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], np.float32)
)
SAMPLE = torch.tensor([[1.0, 1.0]])
"""Its squared gaps are 1 and 2, its cosines alike; class 2 has no prototype."""


def loaded(name: str, **options: Any) -> Algorithm[Any, Any, Any]:
    whole: dict[str, Any] = {"kept_share": 1.0} if name == "tinyproto" else {}
    return algorithms.load(name, classes=CLASSES, width=2, **whole, **options)


def model_of(algorithm: Algorithm[Any, Any, Any], *labels: int) -> SplitModel:
    """Return a client's model, whose features are its inputs, with its counts of these labels."""
    model = SplitModel(nn.Flatten(), width=2, classes=CLASSES, features=2)
    algorithm.init_client_state(model)
    batches = Batches(torch.ones(len(labels), 2), torch.tensor(labels, dtype=torch.int64), SIZE)
    algorithm.load_broadcast(model, batches, PROTOTYPES)
    return model


def scores(algorithm: Algorithm[Any, Any, Any], model: SplitModel) -> list[float]:
    goal = algorithm.targets(PROTOTYPES, CPU)
    found: list[float] = algorithm.predict(model, SAMPLE, goal)[0].tolist()
    return found


@pytest.mark.parametrize("name", ["fedproto", "fedtgp", "tinyproto"])
def test_the_score_by_hand(name: str) -> None:
    algorithm = loaded(name, own_prior=True)
    model = model_of(algorithm, 0, 1, 1)  # the last of three makes no batch of two, and counts
    expected = [-0.5 + math.log(1.1 / 3.3), -1.0 + math.log(2.1 / 3.3), -math.inf]
    assert scores(algorithm, model) == pytest.approx(expected)


def test_by_cosine_it_is_added_to_the_cosine() -> None:
    algorithm = loaded("fedorgp", own_prior=True)
    model = model_of(algorithm, 0, 1, 1)
    angle = 1 / math.sqrt(2)
    expected = [angle + math.log(1.1 / 3.3), angle + math.log(2.1 / 3.3), -math.inf]
    assert scores(algorithm, model) == pytest.approx(expected)


def test_a_client_without_samples_takes_all_classes_alike() -> None:
    algorithm = loaded("fedproto", own_prior=True)
    expected = [-0.5 - math.log(3), -1.0 - math.log(3), -math.inf]
    assert scores(algorithm, model_of(algorithm)) == pytest.approx(expected)


@pytest.mark.parametrize("name", KIN)
def test_no_sample_has_a_class_before_there_are_prototypes(name: str) -> None:
    algorithm = loaded(name, own_prior=True)
    model = model_of(algorithm, 0, 1, 1)
    goal = algorithm.targets(algorithm.start()[1], CPU)
    assert not algorithm.predict(model, SAMPLE, goal).isfinite().any()


@pytest.mark.parametrize("name", KIN)
def test_without_it_nothing_is_kept(name: str) -> None:
    algorithm = loaded(name)
    model = model_of(algorithm, 0, 1, 1)
    assert not model.kept
    assert scores(algorithm, model)[0] == pytest.approx(
        1 / math.sqrt(2) if name == "fedorgp" else -0.5
    )


def test_the_variant_ours_is_told_where_it_helps() -> None:
    having = {name for name in KIN if "ours" in algorithms.info(name).variants}
    assert having == {"fedproto"}
    assert algorithms.variant_options("fedproto", "ours") == {"own_prior": True}


def client(*labels: int) -> ClientData:
    inputs: npt.NDArray[np.float32] = (
        np.random.default_rng(len(labels)).standard_normal((len(labels), 2)).astype(np.float32)
    )
    train = Samples(inputs, np.array(labels, np.int64))
    return ClientData(train, train)


def member(name: str, algorithm: Algorithm[Any, Any, Any], *labels: int, **more: Any) -> Any:
    model = SplitModel(nn.Linear(2, 2), width=2, classes=CLASSES, features=2)
    own = client(*labels)
    return Client[Any, Any](name, algorithm, model, own, batch_size=SIZE, seed=0, **more)


def test_what_is_kept_is_stored_and_taken_over_again() -> None:
    algorithm = loaded("fedproto", own_prior=True)
    first, second = (member("a", algorithm, *labels) for labels in ((0, 0, 2), (1, 1, 1)))
    first.answer(0, algorithm.start()[1])
    assert first.weights()["kept.own.counts_C"].tolist() == [2, 0, 1]
    second.restore(first.weights())
    assert second.weights()["kept.own.counts_C"].tolist() == [2, 0, 1]


@pytest.mark.parametrize("name", KIN)
def test_stacked_clients_keep_their_own_counts(name: str) -> None:
    algorithm = loaded(name, own_prior=True)
    held = {"a": (0, 0, 2, 1), "b": (1, 1, 1), "c": (2, 0, 2, 2)}
    kinds = dict.fromkeys(held, "linear")
    assert algorithm.recipe is not None

    def cohort() -> dict[str, Any]:
        torch.manual_seed(0)
        return {each: member(each, algorithm, *labels) for each, labels in held.items()}

    alone, together = LocalCohort(cohort()), StackedCohort(cohort(), algorithm.recipe, kinds, CPU)
    broadcast = algorithm.start()[1]
    for number in range(2):
        mine, theirs = (each.ask(number, broadcast) for each in (alone, together))
        assert right(mine) == right(theirs)
        broadcast = algorithm.aggregate(algorithm.start()[0], uploads(mine))[1]
    for each, labels in held.items():
        counts = together._clients[each].weights()["kept.own.counts_C"]
        assert counts.tolist() == np.bincount(labels, minlength=CLASSES).tolist()


def right(answers: Any) -> dict[str, int]:
    return {name: answer.report.test_correct for name, answer in answers.items()}


def uploads(answers: Mapping[str, Answer[Any]]) -> list[Any]:
    return [answer.upload for answer in answers.values() if answer.upload is not None]


@pytest.mark.parametrize("name", KIN)
def test_the_exported_model_answers_the_same(name: str, tmp_path: Path) -> None:
    algorithm = loaded(name, own_prior=True)
    model = model_of(algorithm, 0, 1, 1, 1)
    goal = algorithm.targets(PROTOTYPES, CPU)
    classifier = Classifier(model, lambda own, inputs: algorithm.predict(own, inputs, goal), False)
    path = tmp_path / "model.onnx"
    export(classifier, path, shape=(2,), class_names=["a", "b", "c"], pixels=False, facts={})
    assert check(path, classifier, SAMPLE) < 1e-5
    found = open_model(path).scores(SAMPLE.numpy())[0]
    assert found.tolist() == pytest.approx(scores(algorithm, model))
    assert found.argmax() == 1  # nearer to 0, or as near; it has more of 1


@pytest.mark.parametrize("name", KIN)
def test_a_private_client_may_not_show_its_classes(name: str) -> None:
    algorithm = loaded(name, own_prior=True)
    with pytest.raises(ConfigError, match="privacy: predictions by a client's own class prior"):
        algorithms.check_private(name, algorithm)
    with pytest.raises(ConfigError, match="set own_prior=false"):
        member("a", algorithm, 0, 1, secret=NoiseSecret(PrivacySettings(), b"key"))


@pytest.mark.broker
@pytest.mark.parametrize("name", ["fedproto", "tinyproto"])
def test_over_mqtt_it_is_as_in_the_simulation(
    name: str, tmp_path: Path, broker: BrokerSettings
) -> None:
    source = write_data(tmp_path / "one")
    own: dict[str, Any] = {"own_prior": True, "pull": 0.0}
    task = Task(tmp_path, source, broker, None, name, own)
    expected = simulated(source, None, tmp_path / "sim", algorithm=name, options=own)
    plain = {**own, "own_prior": False}
    without = simulated(source, None, tmp_path / "plain", algorithm=name, options=plain)
    with at_work(task.device()) as device:
        summary = json.loads(serve(config.read(task.config(), TaskSettings)).read_text())
        mine = json.loads(device.ended.result(60).read_text())
    assert summary["knowledge_sha256"] == expected["knowledge_sha256"]
    assert summary["accuracy_by_round"] == expected["accuracy_by_round"]
    assert list(mine["accuracy_by_round"].values()) == expected["accuracy_by_round"]
    assert expected["knowledge_sha256"] == without["knowledge_sha256"]  # training is the same
    test = data.load(str(source)).client(0).test
    found = open_model(Path(mine["onnx"])).scores(test.inputs.astype(np.float32))
    correct = float((found.argmax(axis=1) == test.labels).mean())
    assert correct == pytest.approx(expected["accuracy_by_round"][ROUNDS])


def test_the_models_architecture_does_not_matter() -> None:
    algorithm = algorithms.load("fedproto", classes=3, width=4, own_prior=True)
    model = models.build(ARCHITECTURE, (1, 16, 16), 3, 4)
    algorithm.init_client_state(model)
    algorithm.load_broadcast(
        model, Batches(torch.ones(2, 1, 16, 16), torch.tensor([0, 2]), 1), PROTOTYPES
    )
    assert model.state_dict()["kept.own.counts_C"].tolist() == [1, 0, 1]
