"""A client with class statistics: what it uploads, makes of everybody's, and exports."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edge.agent import onnx_form
from edge.agent.predict import open_model
from edgeloop import algorithms, implausible_uploads, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.bases.running import Base
from edgeloop.cohorts.local import LocalCohort
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.errors import BaseError, ConfigError, MisfitError, RunError
from edgeloop.gaussian import exporting, statistics
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.gaussian.kernel import Kernel
from tests.bases.tiny import tiny_base, tiny_graph

SHAPE, CLASSES = (1, 6, 6), 4
BASE = tiny_base(SHAPE)
EASE = 1.0
VARIANTS = [{}, {"own": "gaussian"}, {"second": False}, {"form": "cosine"}, {"precision": "single"}]


def drawn(seed: int, labels: Any) -> Samples:
    patterns = np.random.default_rng(0).standard_normal((CLASSES, *SHAPE)) * EASE
    chosen = np.asarray(labels, np.int64)
    noise = np.random.default_rng(seed).standard_normal((len(chosen), *SHAPE))
    return Samples((patterns[chosen] + noise).astype(np.float32), chosen)


def loaded(**options: Any) -> Algorithm[Any, Any, Any]:
    bound = algorithms.base_options("class-statistics", BASE)
    return algorithms.load("class-statistics", classes=CLASSES, **bound, **options)


def client(algorithm: Algorithm[Any, Any, Any], seed: int, labels: Any) -> StatisticsClient:
    assert algorithm.make_client is not None
    tested = drawn(1000 + seed, np.arange(200) % CLASSES)
    found: StatisticsClient = algorithm.make_client(
        f"c{seed}", BASE, ClientData(drawn(seed, labels), tested)
    )
    return found


def completed(content: bytes, pixels: bool) -> bytes:
    """Return the file that a device makes of an exported classifier."""
    model, names = onnx.load_from_string(content), list("abcd")
    return onnx_form.completed(
        model, class_names=names, shape=SHAPE, pixels=pixels, facts={"task": "t"}
    )


def exchanged(algorithm: Algorithm[Any, Any, Any], clients: list[StatisticsClient]) -> Any:
    """Return the broadcast that one exchange leads to."""
    cohort = LocalCohort({each.name: each for each in clients})
    return server_loop.run_rounds(
        algorithm, cohort, 1, server_loop.initial_state(algorithm), lambda closed: None
    )[0].broadcast


@pytest.mark.parametrize("options", VARIANTS)
def test_one_exchange_helps_clients_that_have_little(options: dict[str, Any]) -> None:
    algorithm = loaded(**options)
    clients = [client(algorithm, seed, [0, 1, 2, 3] * 2) for seed in range(8)]
    before = [each.finish(algorithm.start()[1]).accuracy for each in clients]
    broadcast = exchanged(algorithm, clients)
    after = [each.finish(broadcast).accuracy for each in clients]
    assert np.mean(after) > np.mean(before) + 0.03
    assert all(0 <= each.mixture(broadcast).weight <= 1 for each in clients)


def test_before_the_first_exchange_only_its_own_counts() -> None:
    algorithm = loaded()
    assert client(algorithm, 1, [0, 1, 2]).mixture(algorithm.start()[1]).weight == 0


@pytest.mark.parametrize("labels", [[], [2], [0, 0, 0], [0, 1, 2, 3] * 30])
def test_one_class_or_none_or_many_samples(labels: list[int]) -> None:
    algorithm = loaded()
    others = [client(algorithm, seed, [0, 1, 2, 3] * 5) for seed in range(3)]
    broadcast = exchanged(algorithm, [*others, client(algorithm, 9, labels)])
    report = client(algorithm, 9, labels).finish(broadcast)
    assert report.test_samples == 200
    if not labels:
        assert client(algorithm, 9, labels).mixture(broadcast).weight == 1
        assert report.accuracy > 0.5


def test_without_test_samples() -> None:
    algorithm = loaded()
    assert algorithm.make_client is not None
    alone = algorithm.make_client("a", BASE, ClientData(drawn(1, [0, 1]), drawn(2, [])))
    report = alone.finish(algorithm.start()[1])
    assert (report.test_correct, report.test_samples) == (0, 0)
    assert np.isnan(report.test_auc)


def test_its_own_samples_are_not_counted_twice() -> None:
    """Of itself alone it learns nothing, whether its upload has arrived or not."""
    algorithm = loaded()
    one = client(algorithm, 1, [0, 1, 2, 3] * 4)
    broadcast = exchanged(algorithm, [one])
    assert one._others(broadcast).samples == 0
    assert one.mixture(broadcast).weight == 0
    stranger = client(algorithm, 2, [0, 1, 2, 3] * 4)
    assert stranger._others(broadcast).samples == 16


def test_a_newcomer_takes_its_own_samples_along() -> None:
    algorithm = loaded()
    broadcast = exchanged(algorithm, [client(algorithm, s, [0, 1, 2] * 4) for s in range(4)])
    before, after = client(algorithm, 7, [0, 1, 2, 3] * 3).join(broadcast)
    assert after.test_correct == before.test_correct > 100
    assert after.seconds_training > 0


def test_who_only_evaluates_uploads_nothing() -> None:
    algorithm = loaded()
    answer = client(algorithm, 1, [0, 1]).answer(0, algorithm.start()[1], trains=False)
    assert answer.upload is None


def test_its_state_is_no_networks() -> None:
    algorithm = loaded()
    one = client(algorithm, 1, [0, 1])
    one.restore(one.weights())
    with pytest.raises(RunError, match="the stored model of c1: is a network's"):
        one.restore({"base.weight": np.zeros(3)})


@pytest.mark.parametrize("classes", [1, CLASSES])
def test_who_claims_samples_without_end_does_not_crowd_out_the_others(classes: int) -> None:
    """The sum of a count at the wire's limit and an honest one is beyond that limit."""
    algorithm = loaded()
    state, broadcast = algorithm.start()
    sent: Any = client(algorithm, 1, [0, 1, 2, 3] * 5).answer(1, broadcast).upload
    claim = replace(
        sent,
        labels_R=sent.labels_R[:classes],
        means_RD=sent.means_RD[:classes] * 0,
        counts_R=np.full(classes, 10**9),
    )
    found = implausible_uploads.aggregate_usable(
        algorithm, state, broadcast, {"a": sent, "b": sent, "x": claim}
    )
    assert list(found.excluded) == ["x"]
    assert "more than 1,000,000 samples of one client" in found.excluded["x"]
    assert found.broadcast.counts_C.tolist() == [10] * CLASSES


def test_more_samples_than_an_upload_may_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MOST", 20)
    client(loaded(), 1, [0, 1, 2, 3] * 5)
    with pytest.raises(ConfigError, match="c1 has 21 training samples, and may bring 20"):
        client(loaded(), 1, [0, 1, 2, 3] * 5 + [0])


def test_another_base_is_refused() -> None:
    other = type(BASE)(tiny_graph(SHAPE, 5))
    algorithm = loaded()
    assert algorithm.make_client is not None
    data = ClientData(drawn(1, [0]), drawn(2, [0]))
    with pytest.raises(BaseError, match=r"is .*, the run's is .*"):
        algorithm.make_client("a", other, data)
    free = algorithms.load("class-statistics", classes=CLASSES, dims=6)
    assert free.make_client is not None
    with pytest.raises(BaseError, match="features of 5 numbers, the run's have 6"):
        free.make_client("a", other, data)


@pytest.mark.parametrize(("trained", "tested"), [([0, 4], [0]), ([0], [1, 9]), ([-1, 0], [0])])
def test_classes_that_the_run_does_not_have(trained: list[int], tested: list[int]) -> None:
    def samples(labels: list[int]) -> Samples:
        return Samples(np.zeros((len(labels), *SHAPE), np.float32), np.array(labels))

    algorithm = loaded()
    assert algorithm.make_client is not None
    with pytest.raises(
        MisfitError, match=r"c: has a sample of class -?\d, and the run has 4 classes"
    ):
        algorithm.make_client("c", BASE, ClientData(samples(trained), samples(tested)))


def test_a_base_that_makes_nan() -> None:
    algorithm = loaded()
    assert algorithm.make_client is not None
    spoilt = Samples(np.full((3, *SHAPE), np.nan, np.float32), np.array([0, 1, 2]))
    with pytest.raises(BaseError, match="input 0 has features that are NaN"):
        algorithm.make_client("c", BASE, ClientData(spoilt, drawn(1, [0])))


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("variances", [[1.0, 0, 0, 0, 0, 0], [1e-300] * 6])
def test_dimensions_that_do_not_vary(options: dict[str, Any], variances: list[float]) -> None:
    """As of a base that was made of images which are nearly all alike."""
    flat = Base(tiny_graph(SHAPE, variances=variances))
    bound = algorithms.base_options("class-statistics", flat)
    algorithm = algorithms.load("class-statistics", classes=CLASSES, **bound, **options)
    assert algorithm.make_client is not None
    same = Samples(np.ones((4, *SHAPE), np.float32), np.arange(4))
    for train in (drawn(1, [0, 1, 2, 3] * 3), same):
        broadcast = exchanged(
            algorithm, [algorithm.make_client("c", flat, ClientData(train, same))]
        )
        found = algorithm.make_client("d", flat, ClientData(train, same)).scores(
            same.inputs, broadcast
        )
        assert np.isfinite(found).all()


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("pixels", [False, True])
def test_the_exported_mixture_says_the_same(
    options: dict[str, Any], pixels: bool, tmp_path: Path
) -> None:
    algorithm = loaded(**options)
    clients = [client(algorithm, seed, [0, 1, 2, 3] * 4) for seed in range(3)]
    broadcast = exchanged(algorithm, clients)
    mixture = clients[0].mixture(broadcast)
    assert isinstance(mixture.own, Kernel) == (options in ({}, {"second": False}, VARIANTS[-1]))
    content = exporting.classifier(
        BASE.graph,
        mixture,
        BASE.variances_D,
        cosine=options.get("form") == "cosine",
        pixels=pixels,
        shape=SHAPE,
        names=("images", "scores"),
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(completed(content, pixels))
    inputs = drawn(5, np.arange(40) % CLASSES).inputs
    read = (inputs + 1) * np.float32(127.5) if pixels else inputs
    found = open_model(path).scores(read)
    assert np.allclose(found, clients[0].scores(inputs, broadcast), atol=1e-3)
    assert json.loads(json.dumps(open_model(path).class_names)) == list("abcd")
