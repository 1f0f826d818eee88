"""A network beside class statistics: what it is, what it changes, and what it must not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent.own_network import Trained
from edge.agent.predict import open_model
from edgeloop import expert, models
from edgeloop.algorithms.local import Nothing
from edgeloop.client import Client
from edgeloop.data import ClientData
from edgeloop.errors import ConfigError
from edgeloop.gaussian import exporting
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.mixing import experts, weighing
from edgeloop.models.split import SplitModel
from tests.gaussian.test_client import BASE, CLASSES, SHAPE, completed, drawn, exchanged, loaded

WIDTH, BATCH, ROUNDS = 8, 4, 4


def first() -> SplitModel:
    return models.build("resnet4", SHAPE, CLASSES, WIDTH, 0)


PLAN = expert.Plan(first, WIDTH, BATCH)


def clients(count: int, tests: int = 60, **options: Any) -> list[StatisticsClient]:
    """Return clients with so many training samples each."""
    asked = {"network": True, "network_rounds": ROUNDS, "local_lr": 0.05, **options}
    half = loaded(**asked).make_client
    assert half is not None
    labels = np.arange(count) % CLASSES
    tested = np.arange(tests) % CLASSES
    return [
        half(f"c{seed}", BASE, ClientData(drawn(seed, labels), drawn(seed + 9, tested)))
        for seed in range(3)
    ]


def broadcast_of(crew: list[StatisticsClient]) -> Any:
    return exchanged(loaded(network=True), crew)


def test_nothing_that_travels_changes() -> None:
    found, without = clients(40)[0], clients(40, network=False)[0]
    start = loaded().start()[1]
    one, other = found.answer(0, start), without.answer(0, start)
    assert all(
        np.array_equal(getattr(one.upload, key), array) for key, array in vars(other.upload).items()
    )
    assert one.report.test_correct == other.report.test_correct
    assert without.data is None, "the images are not kept where features are enough"


@pytest.mark.parametrize("count", [120, 24])
def test_it_is_trained_as_local_is_and_calibrated_on_samples_that_it_has_not_seen(
    count: int,
) -> None:
    crew = clients(count)
    one = crew[0]
    assert one.data is not None
    found = expert.trained(PLAN, one, broadcast_of(crew))
    train = one.data.train
    out_N = experts.held_out(train.labels, experts.held_out_seed(0, one.name))
    few = out_N.sum() < experts.MIN_SAMPLES
    algorithm = expert.local(one.config, WIDTH)
    local = Client(one.name, algorithm, first(), one.data, batch_size=BATCH, seed=0)
    alone = local if few else local.copy_with(first(), None, ~out_N)
    for number in range(ROUNDS):
        alone.answer(number, Nothing())
    assert found.network is not None
    weights = alone.weights()
    assert all(np.array_equal(weights[key], own) for key, own in found.network.weights().items())
    if not few:
        scores_NC = alone.scores(train.inputs[out_N], Nothing())
        assert found.temperature == experts.temperature(scores_NC, train.labels[out_N])


def test_its_scores_are_the_three_experts_product() -> None:
    crew = clients(120)
    broadcast = broadcast_of(crew)
    found = expert.trained(PLAN, crew[0], broadcast)
    found = replace(found, joins=True)
    inputs = drawn(5, np.arange(20) % CLASSES).inputs
    assert found.network is not None
    network_NC = found.network.scores(inputs, Nothing()) / found.temperature
    wanted = np.exp(network_NC) * np.exp(crew[0].scores(inputs, broadcast))
    wanted /= wanted.sum(1, keepdims=True)
    assert np.exp(found.scores(inputs, broadcast)) == pytest.approx(wanted)


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("tests", [60, 0])
def test_a_summary_tells_of_it(tests: int, joins: bool) -> None:
    crew = clients(120, tests)
    broadcast = broadcast_of(crew)
    found = replace(expert.trained(PLAN, crew[0], broadcast), joins=joins)
    told = json.loads(json.dumps(found.as_summary(broadcast)))
    network, without = told["network"], crew[0].mixing_metrics(broadcast)
    assert network["without"] == without["mixed"]
    assert {key: told[key] for key in ("alone", "together", "weight")} == {
        key: without[key] for key in ("alone", "together", "weight")
    }
    if not tests:
        assert told["mixed"] is network["alone"] is None
        return
    assert (told["mixed"] == network["without"]) == (not joins)
    gained = (told["mixed"] - network["alone"]) * tests
    assert network["gained"] - network["lost"] == pytest.approx(gained)
    assert told["gained"] - told["lost"] == pytest.approx((told["mixed"] - told["alone"]) * tests)


@pytest.mark.parametrize(
    ("count", "options", "why"),
    [(0, {}, expert.TOO_FEW), (3, {}, expert.TOO_FEW), (120, {"local_lr": 1e30}, expert.DIVERGED)],
)
def test_who_has_none_takes_part_without(count: int, options: dict[str, Any], why: str) -> None:
    crew = [clients(count, **options)[0], *clients(20)[1:]]
    broadcast = broadcast_of(crew)
    found = expert.trained(PLAN, crew[0], broadcast)
    told = found.as_summary(broadcast)
    without = crew[0].mixing_metrics(broadcast)["mixed"]
    assert told["network"] == {"joins": False, "why": why, "without": without, "alone": None}
    assert told["mixed"] == crew[0].mixing_metrics(broadcast)["mixed"]
    assert Trained(found, SHAPE).graph() is None


@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("form", ["gaussian", "cosine"])
def test_the_exported_file_has_it(pixels: bool, form: str, tmp_path: Path) -> None:
    crew = clients(120, form=form)
    broadcast = exchanged(loaded(network=True, form=form), crew)
    found = expert.trained(PLAN, crew[0], broadcast)
    assert Trained(replace(found, joins=False), SHAPE).graph() is None
    found = replace(found, joins=True)
    content = exporting.classifier(
        BASE.graph,
        crew[0].mixture(broadcast),
        BASE.variances_D,
        cosine=form == "cosine",
        pixels=pixels,
        shape=SHAPE,
        names=("images", "scores"),
        network=Trained(found, SHAPE).graph(),
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(completed(content, pixels))
    inputs = drawn(5, np.arange(40) % CLASSES).inputs
    read = (inputs + 1) * np.float32(127.5) if pixels else inputs
    assert np.allclose(open_model(path).scores(read), found.scores(inputs, broadcast), atol=1e-3)
    assert not np.allclose(found.scores(inputs, broadcast), crew[0].scores(inputs, broadcast))


@pytest.mark.parametrize("option", ["network_rounds", "local_epochs", "local_lr"])
def test_a_training_of_nothing_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        loaded(network=True, **{option: 0})


def test_it_joins_where_held_out_samples_say_so() -> None:
    """Of two samples the mixture has one right; a network that is sure of both joins."""
    labels = np.array([0, 1])
    mixed, sure = np.log([[0.6, 0.4], [0.6, 0.4]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    assert weighing.joins(mixed, sure, labels)
    assert not weighing.joins(mixed, np.zeros((2, 2)), labels), "it tells nothing"
    assert not weighing.joins(mixed, -sure, labels)
    crew = clients(120)
    broadcast = broadcast_of(crew)
    found = expert.trained(PLAN, crew[0], broadcast)
    one = crew[0]
    assert one.data is not None
    assert found.network is not None
    train = one.data.train
    out_N = experts.held_out(train.labels, experts.held_out_seed(0, one.name))
    unseen, whole = one.unseen(broadcast)[out_N], replace(found, joins=True)
    network = found.network.scores(train.inputs[out_N], Nothing()) / found.temperature
    more = experts.hits(weighing.joined(unseen, network), train.labels[out_N]).sum()
    assert found.joins == (more > experts.hits(unseen, train.labels[out_N]).sum())
    inputs = drawn(5, [0, 1]).inputs
    kept = found.scores(inputs, broadcast) if found.joins else one.scores(inputs, broadcast)
    assert np.array_equal(kept, (whole if found.joins else found).scores(inputs, broadcast))
