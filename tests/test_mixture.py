"""What a client ends with: nothing in it changes, and alone is what Local would be."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms, mixture, models
from edgeloop.algorithms.local import Nothing
from edgeloop.client import Client
from edgeloop.data import ClientData, Samples
from edgeloop.mixing import experts
from edgeloop.models.split import SplitModel

SHAPE, CLASSES, WIDTH, BATCH, ROUNDS = (24,), 3, 8, 4, 3
FACTS: dict[str, Any] = {"classes": CLASSES, "width": WIDTH}
NETWORKS = [name for name in algorithms.names() if mixture.can_mix(name)]
ARCHITECTURE = "mlp"


def first() -> SplitModel:
    return models.build(ARCHITECTURE, SHAPE, CLASSES, WIDTH, 0)


def samples(count: int, seed: int = 0, classes: int = CLASSES) -> Samples:
    """Return images whose mean tells their class."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % classes)
    inputs = random.normal(labels[:, None] - 1.0, 0.7, (count, *SHAPE))
    return Samples(inputs.astype(np.float32), labels)


def member(name: str, train: int, tests: int = 12, classes: int = CLASSES) -> Client[Any, Any]:
    data = ClientData(samples(train, 1, classes), samples(tests, 2, classes))
    return Client("one", loaded(name), first(), data, batch_size=BATCH, seed=0)


def loaded(name: str) -> Any:
    facts = algorithms.supported_options(name, **FACTS, shape=SHAPE, architecture=ARCHITECTURE)
    generator = None
    return algorithms.load(name, generator, **facts)


def plan(name: str = "fedproto", how: experts.Mix = "auto", **changes: Any) -> mixture.MixingPlan:
    local = mixture.local_algorithm(name, **algorithms.supported_options(name, **FACTS))
    return replace(mixture.MixingPlan(how, ROUNDS, local, first, seed=0), **changes)


def run(half: Client[Any, Any], name: str) -> Any:
    """Train a run of this client alone; return the last broadcast."""
    algorithm = loaded(name)
    state, broadcast = algorithm.start()
    for number in range(ROUNDS):
        answer = half.answer(number, broadcast)
        state, broadcast = algorithm.aggregate_uploads(state, {"one": answer.upload})
    half.finish(broadcast)
    return broadcast


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in {*one, *other})


def test_half_and_half_is_trained_alone_just_as_local_would_be() -> None:
    local = member("local", 40)
    for number in range(ROUNDS):
        local.answer(number, Nothing())
    half = member("fedproto", 40)
    broadcast = run(half, "fedproto")
    before, hits = half.weights(), half.hits()
    found = mixture.train_mixture(plan(how="half"), half, broadcast)
    assert found.alone is not None
    assert same(found.alone.weights(), local.weights())
    assert found.weights.weight == 0.5
    assert same(half.weights(), before), "the run's client is as it was"
    assert half.hits() == hits


def trained_alone(half: Client[Any, Any], chosen_N: Any = None) -> Client[Any, Any]:
    alone = half.copy_with(first(), plan().local, chosen_N)
    list(alone.train_against(ROUNDS, Nothing()))
    return alone


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_a_weight_is_chosen_on_samples_held_out_and_alone_put_into_use_with_all(
    weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = member("fedproto", 100)
    broadcast = run(half, "fedproto")
    seen: dict[str, Any] = {}

    def chosen(own_NC: Any, all_NC: Any, labels_N: Any) -> experts.MixingWeights:
        seen.update(own=own_NC, all=all_NC, labels=labels_N)
        return experts.MixingWeights(weight, 2.0, 0.5, "said so", len(labels_N))

    monkeypatch.setattr(experts, "choose_weights", chosen)
    trained: list[int] = []
    monkeypatch.setattr(mixture, "_train_rounds", counted(mixture._train_rounds, trained))
    found = mixture.train_mixture(plan(), half, broadcast)
    assert found.alone is not None
    out_N = experts.held_out(half.training_samples().labels, experts.held_out_seed(0, "one"))
    judged = trained_alone(half, ~out_N)
    out = half.training_samples().inputs[out_N]
    assert np.array_equal(seen["own"], judged.scores(out, Nothing())), "has not seen them"
    list((again := half.copy_with(first(), None, ~out_N)).train_against(ROUNDS, broadcast))
    assert np.array_equal(seen["all"], again.scores(out, broadcast))
    judged_too = (half, again) if weight else ()
    assert len(found.committee) == len(judged_too)
    for one, other in zip(found.committee, judged_too, strict=True):
        assert same(one.weights(), other.weights())
    tests = half.test_samples()
    all_ = [each.scores(tests.inputs, broadcast) for each in (half, again)]
    both = found.alone.scores(tests.inputs, Nothing()), experts.pooled(all_, 0.5)
    mixed_NC = found.weights.scores(*both)
    assert np.array_equal(found.scores(tests.inputs, broadcast), mixed_NC)
    told = found.as_summary(broadcast)
    assert told["mixed"] == experts.hits(mixed_NC, tests.labels).mean()
    assert (
        told["together"] == experts.hits(half.scores(tests.inputs, broadcast), tests.labels).mean()
    )
    assert np.array_equal(seen["labels"], half.training_samples().labels[out_N])
    assert found.weights == experts.MixingWeights(weight, 2.0, 0.5, "said so", 20)
    wanted = judged if weight == 1 else trained_alone(half)
    assert same(found.alone.weights(), wanted.weights())
    assert trained == [80, 80] + [100] * (weight < 1), "no training that changes nothing"


def counted(train: Any, sizes: list[int]) -> Any:
    def training(client: Client[Any, Any], *rest: Any) -> None:
        sizes.append(len(client.training_samples()))
        train(client, *rest)

    return training


@pytest.mark.parametrize(
    ("train", "classes", "weight"), [(0, 3, 1.0), (3, 3, 1.0), (4, 3, 0.5), (30, 3, 0.5)]
)
def test_few_samples_mix_half_and_half_and_none_leave_the_run_alone(
    train: int, classes: int, weight: float
) -> None:
    half = member("fedproto", train, classes=classes)
    broadcast = run(member("fedproto", 30), "fedproto")
    half.finish(broadcast)
    found = mixture.train_mixture(plan(), half, broadcast)
    told = found.as_summary(broadcast)
    assert told["weight"] == weight
    assert told["test_samples"] == 12
    assert (
        (told["alone"] is None)
        == (found.alone is None)
        == (found.committee == ())
        == (train < BATCH)
    )


@pytest.mark.parametrize("name", ["fedproto", "fedavg"])
def test_of_few_samples_those_networks_are_put_into_use_that_were_judged(name: str) -> None:
    half = member(name, 20)
    broadcast = run(half, name)
    found = mixture.train_mixture(plan(name), half, broadcast)
    assert found.alone is not None
    list((alone := half.copy_with(first(), plan(name).local)).train_against(ROUNDS, Nothing()))
    assert same(found.alone.weights(), alone.weights()), "on all samples"
    folds_N = experts.folds(half.training_samples().labels, experts.held_out_seed(0, "one"))
    for fold, network in enumerate(found.committee):
        again = half.copy_with(first(), None, folds_N != fold, 3)
        list(again.train_against(ROUNDS, broadcast))
        assert same(network.weights(), again.weights())
    whole = name == "fedavg"
    assert len(found.committee) == (1 if whole else experts.FOLDS)
    assert same(found.committee[0].weights(), half.weights()) == whole
    tests, choice, told = half.test_samples(), found.weights, found.as_summary(broadcast)
    all_ = [each.scores(tests.inputs, broadcast) for each in found.committee]
    wanted = experts.log_posteriors(
        found.alone.scores(tests.inputs, Nothing()), choice.temperature_alone
    )
    wanted += np.mean([experts.log_posteriors(s, choice.temperature_together) for s in all_], 0)
    scores_NC = found.scores(tests.inputs, broadcast)
    assert np.ptp(2 * scores_NC - wanted, axis=1) == pytest.approx(0, abs=1e-9)
    assert told["mixed"] == experts.hits(scores_NC, tests.labels).mean()
    assert (
        told["together"] == experts.hits(half.scores(tests.inputs, broadcast), tests.labels).mean()
    )


@pytest.mark.parametrize("name", ["fedproto", "fedavg"])
@pytest.mark.parametrize("how", ["auto", "half"])
@pytest.mark.parametrize("count", [4, 14, 15])
def test_nobody_believes_a_model_that_has_learned_from_all_of_very_few_samples(
    name: str, how: experts.Mix, count: int
) -> None:
    half = member(name, count)
    broadcast = run(half, name)
    found = mixture.train_mixture(plan(name, how), half, broadcast)
    believed = not (name == "fedavg" and how == "auto" and count < experts.MIN_SAMPLES)
    assert found.weights.weight == (0.5 if believed else 0)
    assert (found.weights.why == mixture.UNJUDGED) == (not believed)
    assert found.weights.held_out == count
    assert (found.committee == ()) == (not believed)
    told = found.as_summary(broadcast)
    assert believed or told["mixed"] == told["alone"]


@pytest.mark.parametrize(("how", "weight"), [("auto", 0.0), ("half", 0.5)])
def test_of_few_samples_who_trained_as_the_run_did_and_diverged_is_believed_nothing(
    how: experts.Mix, weight: float
) -> None:
    half = member("fedproto", 20)
    broadcast = run(half, "fedproto")
    wild = Client(
        "one",
        algorithms.load("fedproto", **FACTS, local_lr=1e30),
        first(),
        ClientData(half.training_samples(), half.test_samples()),
        batch_size=BATCH,
        seed=0,
    )
    wild.restore(half.weights())
    found = mixture.train_mixture(plan(how=how), wild, broadcast)
    assert found.weights.weight == weight
    assert found.committee == ()
    told = found.as_summary(broadcast)
    if how == "auto":
        assert found.weights.why == mixture.UNSTEADY
        assert told["mixed"] == told["alone"] > 0


def test_of_few_samples_the_runs_model_where_there_is_no_room_for_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = member("fedproto", 20)
    broadcast = run(half, "fedproto")
    monkeypatch.setattr(mixture, "ROOM", 1000)
    found = mixture.train_mixture(plan(), half, broadcast)
    assert (found.committee, found.weights.weight) == ((), 0.5)
    assert found.alone is not None
    tests = half.test_samples()
    both = found.alone.scores(tests.inputs, Nothing()), half.scores(tests.inputs, broadcast)
    assert np.array_equal(found.scores(tests.inputs, broadcast), found.weights.scores(*both))


def test_a_device_of_one_class_and_one_without_tests() -> None:
    half = member("fedavg", 80, tests=0, classes=1)
    broadcast = run(half, "fedavg")
    told = mixture.train_mixture(plan("fedavg"), half, broadcast).as_summary(broadcast)
    assert told["weight"] == 0.5
    assert told["mixed"] is None
    assert told["test_samples"] == 0


def test_a_model_that_has_diverged_is_believed_nothing() -> None:
    half = member("fedavg", 80)
    broadcast = run(half, "fedavg")
    half.restore({key: np.full_like(value, np.nan) for key, value in half.weights().items()})
    found = mixture.train_mixture(plan("fedavg"), half, broadcast)
    assert found.weights.weight == 0
    assert found.weights.why == mixture.NOTHING
    told = found.as_summary(broadcast)
    assert told["mixed"] == told["alone"] > 0
    assert told["together"] == 0


def test_knowledge_that_nobody_gave_is_believed_nothing() -> None:
    half = member("fedproto", 80)
    broadcast = loaded("fedproto").start()[1]
    half.finish(broadcast)
    assert mixture.train_mixture(plan(), half, broadcast).weights.weight == 0


@pytest.mark.parametrize(("train", "how"), [(80, "auto"), (80, "half"), (20, "auto")])
def test_alone_that_has_diverged_is_believed_nothing(train: int, how: experts.Mix) -> None:
    half = member("fedavg", train)
    broadcast = run(half, "fedavg")
    wild = algorithms.load("local", **FACTS, local_lr=1e30)
    found = mixture.train_mixture(plan("fedavg", how, local=wild), half, broadcast)
    assert (found.weights.weight, found.weights.why) == (1, mixture.DIVERGED)
    assert found.committee == ()
    told = found.as_summary(broadcast)
    assert told["mixed"] == told["together"]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "fedktl"])
def test_every_algorithm_is_mixed(name: str) -> None:
    half = member(name, 80)
    broadcast = run(half, name)
    told = mixture.train_mixture(plan(name), half, broadcast).as_summary(broadcast)
    assert told["held_out"] == 16
    assert told["weight"] in (0, 0.25, 0.5, 0.75, 1)
    assert min(told["alone"], told["together"], told["mixed"]) > 0.2


def test_a_rehearsal_ends_where_more_rounds_change_nothing() -> None:
    half = member("fedavg", 20)
    broadcast = run(half, "fedavg")
    again = half.copy_with(first())
    assert len(list(again.train_against(50, broadcast))) <= 2
    assert same(again.weights(), half.weights()), "the model that all have"
    assert len(list(half.copy_with(first(), plan().local).train_against(5, Nothing()))) == 5
