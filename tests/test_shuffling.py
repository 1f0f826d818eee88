"""Samples in a new order each epoch: by the seed, the same wherever a client trains."""

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cloud.aggregator.service import serve
from cloud.aggregator.settings import TaskSettings
from edgeloop import algorithms, models, server_loop
from edgeloop.algorithm import Algorithm, Batches
from edgeloop.algorithms import ditto, fedrep, perfedavg
from edgeloop.client import Client
from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.stacked import StackedCohort
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.errors import ConfigError
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.knowledge import prototypes
from edgeloop.models import SplitModel
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract
from edgeloop.runtime import config as config_files
from edgeloop.runtime.config import BrokerSettings, PrivacySettings
from edgeloop.training.sgd import cross_entropy, train_sgd
from simulations.engine.run import simulate
from simulations.settings import RunSettings
from tests.devices import at_work
from tests.generators.tiny import write_tiny
from tests.one_device import ARCHITECTURE, Task, simulated, write_data
from tests.world import contract

CPU = torch.device("cpu")
SHAPE, CLASSES, WIDTH, SIZE = (1, 16, 16), 4, 8, 3
SIZES = {"a": 10, "b": 7, "c": 2}
"""Training samples; c has no full batch."""


def numbered(count: int, size: int = 2, shuffle: bool = True, seed: int = 0) -> Batches:
    """Samples whose inputs and labels are their numbers."""
    numbers = torch.arange(count)
    return Batches(numbers.float().unsqueeze(1), numbers, size, seed, shuffle)


def labels(batches: Batches, epoch: int | str) -> list[list[int]]:
    found = []
    for inputs, labels_B in batches.epoch(epoch):
        assert inputs.squeeze(1).tolist() == labels_B.tolist()
        found.append(labels_B.tolist())
    return found


def test_without_it_every_epoch_is_as_the_data_lies() -> None:
    for epoch in (0, 1, "adapt"):
        assert labels(numbered(5, shuffle=False), epoch) == [[0, 1], [2, 3]]
        assert numbered(5, shuffle=False).order(epoch).tolist() == [[0, 1], [2, 3]]


def test_each_epoch_has_an_order_of_its_own() -> None:
    batches = numbered(9)
    orders = [labels(batches, epoch) for epoch in (0, 1, 2, "adapt")]
    assert all(len({*chain(*order)}) == 8 for order in orders)
    assert len({str(order) for order in orders}) == 4
    assert [labels(batches, epoch) for epoch in (0, 1, 2, "adapt")] == orders
    assert labels(numbered(9, seed=1), 0) != orders[0]
    assert [batches.order(epoch).tolist() for epoch in (0, 1, 2, "adapt")] == orders


def test_another_sample_is_left_out_each_time() -> None:
    left = {({*range(9)} - {*chain(*labels(numbered(9), epoch))}).pop() for epoch in range(100)}
    assert left == {*range(9)}


@pytest.mark.parametrize("shuffle", [False, True])
def test_too_few_samples_make_no_batch(shuffle: bool) -> None:
    for count in (0, 1):
        assert labels(numbered(count, shuffle=shuffle), 0) == []
        assert numbered(count, shuffle=shuffle).order(0).shape == (0, 2)


class Noting(nn.Module):
    """A base that tells what it is shown while it trains."""

    def __init__(self, tell: Callable[[list[int]], None]) -> None:
        super().__init__()
        self.tell = tell
        self.layer = nn.Linear(1, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        self.tell(inputs.squeeze(1).int().tolist())
        made: Tensor = self.layer(inputs)
        return made


def shown(train: Callable[[SplitModel], Any]) -> list[list[int]]:
    """Return the samples of all batches that a training takes, by their numbers."""
    noted: list[list[int]] = []
    # A copy of the model tells here, too: a function is not copied.
    train(SplitModel(Noting(lambda numbers: noted.append(numbers)), 2, 9, features=2))
    return noted


def test_a_second_descent_goes_on_with_new_orders() -> None:
    batches = numbered(8)
    orders = [labels(batches, epoch) for epoch in range(3)]

    def global_after_personal(model: SplitModel) -> None:
        config = ditto.Config(classes=9, width=2, personal_epochs=2)
        ditto.init_client_state(model)
        shared = model.kept[ditto.COPY]
        assert isinstance(shared, SplitModel)
        ditto.train_personal(model, shared, batches, config)
        ditto.train_global(shared, batches, config)

    def base_after_head(model: SplitModel) -> None:
        config = fedrep.Config(
            9, 2, shape=(1, 16, 16), architecture="cnn", head_epochs=2, local_epochs=1
        )
        fedrep.build(config).train(model, batches, None)  # type: ignore[arg-type]  # not asked

    for train in (global_after_personal, base_after_head):
        assert shown(train) == list(chain(*orders))


def test_per_fedavg_adapts_on_a_batch_that_is_drawn() -> None:
    batches = numbered(8)
    (first,) = shown(lambda model: perfedavg.adapt(model, batches, 0.1))
    assert first == labels(batches, "adapt")[0] != labels(batches, 0)[0]


def test_counts_of_prototypes_are_of_one_epoch_and_never_none() -> None:
    for seed in range(20):
        batches = numbered(3, size=2, seed=seed)
        noted = [
            (inputs, labels_B) for epoch in range(4) for inputs, labels_B in batches.epoch(epoch)
        ]
        upload = prototypes.upload_collected(None, batches, noted, classes=3, width=1, epochs=4)
        assert upload.counts_N.tolist() == [1] * len(upload.labels_N)
        assert upload.prototypes_ND[:, 0].tolist() == upload.labels_N.tolist()


def test_training_differs_by_it_and_only_by_it() -> None:
    def trained(shuffle: bool, seed: int) -> Tensor:
        model = models.build("mlp", (2,), 2, 4)
        inputs = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
        batches = Batches(inputs, torch.arange(9) % 2, 2, seed, shuffle)
        train_sgd(model, batches, cross_entropy, epochs=2, lr=0.5)
        weight: Tensor = model.head.weight.detach()
        return weight

    assert torch.equal(trained(False, 0), trained(False, 1))
    assert torch.equal(trained(True, 0), trained(True, 0))
    assert not torch.equal(trained(True, 0), trained(True, 1))
    assert not torch.equal(trained(True, 0), trained(False, 0))


# ---- cohorts


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return OnnxGenerator(write_tiny(tmp_path_factory.mktemp("shuffled") / "tiny"))


def built(name: str, generator: OnnxGenerator) -> Algorithm[Any, Any, Any]:
    asked = generator if algorithms.info(name).generator else None
    facts = {"classes": CLASSES, "width": WIDTH, "shape": SHAPE, "architecture": "cnn", "seed": 0}
    few = {"server_epochs": 2, "local_epochs": 2, "pair_batch": 3, "horizon": 10}
    given = algorithms.supported_options(name, **facts, **few)
    return algorithms.load(name, asked, **given, **algorithms.generator_options(name, asked))


def members(algorithm: Algorithm[Any, Any, Any], shuffle: bool) -> dict[str, Client[Any, Any]]:
    made = {}
    for name, count in SIZES.items():
        random = np.random.default_rng([5, *name.encode()])
        inputs = random.standard_normal((count, *SHAPE)).astype(np.float32)
        samples = Samples(inputs, random.integers(0, CLASSES, count).astype(np.int64))
        model = models.build("cnn", SHAPE, CLASSES, WIDTH, seed=0)
        own = ClientData(samples, samples)
        made[name] = Client[Any, Any](
            name, algorithm, model, own, batch_size=SIZE, seed=0, shuffle=shuffle
        )
    return made


def ended(algorithm: Algorithm[Any, Any, Any], crew: LocalCohort[Any, Any]) -> list[Any]:
    """Return what the server and the clients have learned in two rounds."""
    run_state, _ = server_loop.run_rounds(
        algorithm, crew, 2, server_loop.initial_state(algorithm), lambda closed: None
    )
    weights = [array for each in crew._clients.values() for array in each.weights().values()]
    return [*wire.arrays(run_state.broadcast).values(), *weights]


def same(ours: list[Any], theirs: list[Any]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", [n for n in algorithms.names() if not algorithms.info(n).base])
def test_every_algorithm_is_shuffled_and_repeats(name: str, generator: OnnxGenerator) -> None:
    algorithm = built(name, generator)
    plain, once, again = (
        ended(algorithm, LocalCohort(members(algorithm, shuffle)))
        for shuffle in (False, True, True)
    )
    assert same(once, again)
    assert not same(once, plain)


@pytest.mark.parametrize("name", ["local", "fedproto", "fedtgp", "fedgh", "feddistill", "fedktl"])
def test_stacked_clients_take_the_same_orders(name: str, generator: OnnxGenerator) -> None:
    algorithm = built(name, generator)
    assert algorithm.recipe is not None
    kinds = dict.fromkeys(SIZES, "cnn")
    cohort = StackedCohort(members(algorithm, True), algorithm.recipe, kinds, CPU)
    alone = ended(algorithm, LocalCohort(members(algorithm, True)))
    tolerance = 4e-3 if name == "fedktl" else 2e-4
    for ours, theirs in zip(ended(algorithm, cohort), alone, strict=True):
        if ours.dtype != np.uint8:
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


def test_the_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    source = write_data(tmp_path / "three", clients=3, samples=360)
    fields: dict[str, Any] = {"data": str(source), "models": "cnn", "width": 16, "rounds": 2}

    def knowledge(**more: Any) -> str:
        run = RunSettings(**{"algorithm": "fedproto", "workers": 1, **fields, **more})
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return str(simulate(run, folder, lambda done, accuracy: None)["knowledge_sha256"])

    one, two = (knowledge(shuffle=True, workers=workers) for workers in (1, 2))
    assert one == two
    assert one != knowledge()


# ---- over MQTT


@pytest.mark.broker
@pytest.mark.parametrize("algorithm", ["fedproto", "perfedavg"])
def test_one_device_over_mqtt_ends_as_its_simulation_does(
    algorithm: str, tmp_path: Path, broker: BrokerSettings
) -> None:
    source = write_data(tmp_path / "one")
    own: dict[str, Any] = {"local_epochs": 2}
    if algorithm == "perfedavg":
        own["architecture"] = ARCHITECTURE
    task = Task(tmp_path, source, broker, None, algorithm, own, shuffle=True)
    expected, plain = (
        simulated(
            source,
            None,
            tmp_path / f"simulated-{shuffle}",
            algorithm=algorithm,
            options=own,
            shuffle=shuffle,
        )
        for shuffle in (True, False)
    )
    with at_work(task.device()) as device:
        summary = json.loads(serve(config_files.read(task.config(), TaskSettings)).read_text())
        mine = json.loads(device.ended.result(60).read_text())
    assert summary["knowledge_sha256"] == expected["knowledge_sha256"]
    assert summary["accuracy_by_round"] == expected["accuracy_by_round"]
    assert list(mine["accuracy_by_round"].values()) == expected["accuracy_by_round"]
    assert expected["knowledge_sha256"] != plain["knowledge_sha256"]


def test_a_contract_without_it_is_as_older_devices_know_it() -> None:
    assert contract().text() == (
        '{"schema_version":1,"task":"t","run":"r","algorithm":"fedproto","options":{},'
        '"class_names":["a","b"],"shape":[1,28,28],"width":4,"rounds":2,"batch_size":10,"seed":0,'
        '"devices":["one","two"]}'
    )
    asked = contract(shuffle=True)
    assert json.loads(asked.text())["shuffle"] is True
    for each in (contract(), asked):
        assert Contract.model_validate_json(each.text()) == each


def test_it_is_refused_beside_privacy_which_draws_its_samples(tmp_path: Path) -> None:
    run = RunSettings(algorithm="fedproto", data="x", shuffle=True, privacy=PrivacySettings())
    with pytest.raises(ConfigError, match="shuffle: changes nothing with privacy"):
        run.check()
    table = {
        **{"name": "t", "algorithm": "fedproto", "class_names": ["a", "b"], "shape": [1, 28, 28]},
        **{"rounds": 2, "folder": str(tmp_path), "cohort": {"devices": ["one"]}},
    }
    assert config_files.parse({**table, "shuffle": True}, TaskSettings, "task.toml").shuffle
    with pytest.raises(ConfigError, match="shuffle changes nothing with privacy"):
        config_files.parse({**table, "shuffle": True, "privacy": {}}, TaskSettings, "task.toml")
