"""What every algorithm promises: `edgeloop/algorithm.py` put to the test, with three clients.

One of the clients has no full batch, and none has every class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from edge.agent.export import Classifier, check, export
from edgeloop import algorithms, models, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.algorithms import feddbe
from edgeloop.client import Client, Report
from edgeloop.cohorts.local import LocalCohort
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.knowledge import weights
from edgeloop.participation import Participation
from edgeloop.protocol import wire
from edgeloop.protocol.wire import Envelope
from edgeloop.server_loop import RoundResult, RunState
from tests.bases.tiny import tiny_base
from tests.generators.tiny import write_tiny

SHAPE, CLASSES, WIDTH, BATCH, ROUNDS = (1, 16, 16), 4, 8, 4, 3
FACTS = {"classes": CLASSES, "width": WIDTH, "shape": SHAPE, "architecture": "cnn"}
HELD = {"client-00": (0, 0, 1, 0, 1, 1, 0, 1), "client-01": (1, 2, 1, 2, 2), "client-02": (2, 0)}
"""The classes of each client's training samples."""

FEW = {
    "server_epochs": 2,
    "server_steps": 2,
    "horizon": 10,
    "warm_up": 1,
}
"""Of whichever hyperparameters an algorithm has: enough to learn something, and soon over."""

BASE = tiny_base(SHAPE)
Load = Callable[..., Algorithm[Any, Any, Any]]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return OnnxGenerator(write_tiny(tmp_path_factory.mktemp("contract") / "tiny"))


@pytest.fixture(params=algorithms.names())
def load(request: pytest.FixtureRequest, generator: OnnxGenerator) -> Load:
    """Build one of the algorithms, with a seed and a variant."""
    name: str = request.param

    def build(seed: int = 0, variant: str = "released") -> Algorithm[Any, Any, Any]:
        asked = generator if algorithms.info(name).generator else None
        facts = algorithms.supported_options(name, **FACTS, **FEW, seed=seed)
        bound = {
            **algorithms.generator_options(name, asked),
            **algorithms.base_options(name, BASE),
        }
        options = {**facts, **algorithms.variant_options(name, variant), **bound}
        return algorithms.load(name, asked, **options)

    return build


def data(name: str) -> ClientData:
    """Noise around a pattern of each class."""
    random = np.random.default_rng([7, *name.encode()])
    patterns = np.random.default_rng(0).standard_normal((CLASSES, *SHAPE))

    def samples(labels: Sequence[int]) -> Samples:
        chosen = np.array(labels, np.int64)
        noise = random.standard_normal((len(chosen), *SHAPE))
        inputs: npt.NDArray[np.float32] = (patterns[chosen] + 0.3 * noise).astype(np.float32)
        return Samples(inputs, chosen)

    return ClientData(samples(HELD[name]), samples(range(CLASSES)))


def cohort(algorithm: Algorithm[Any, Any, Any], seed: int = 0) -> LocalCohort[Any, Any]:
    return LocalCohort({name: member(name, algorithm, seed) for name in HELD})


def member(name: str, algorithm: Algorithm[Any, Any, Any], seed: int = 0) -> Any:
    if algorithm.make_client is not None:
        return algorithm.make_client(name, BASE, data(name))
    model = models.build("cnn", SHAPE, CLASSES, WIDTH, seed)
    return Client(name, algorithm, model, data(name), batch_size=BATCH, seed=seed)


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    closed: list[RoundResult[Any, Any, Any]]
    reports: dict[str, int]

    @property
    def knowledge(self) -> list[str]:
        return [wire.fingerprint(each.run_state.broadcast) for each in self.closed]


def run(
    algorithm: Algorithm[Any, Any, Any],
    crew: LocalCohort[Any, Any],
    standing: RunState[Any, Any] | None = None,
    some: Participation | None = None,
) -> Ended:
    closed: list[RoundResult[Any, Any, Any]] = []
    begun = standing or server_loop.initial_state(algorithm)
    _, reports = server_loop.run_rounds(
        algorithm, crew, ROUNDS, begun, closed.append, participation=some
    )
    return Ended(closed, {name: report.test_correct for name, report in reports.items()})


def through_bytes(algorithm: Algorithm[Any, Any, Any], kind: type, *messages: Any) -> Any:
    """Return what a peer, or a process that is started again, makes of a message."""
    payload = wire.encode(Envelope("task", "run", 1, "client-00"), *messages)
    kinds = [type(message) for message in messages]
    return wire.decode(payload, *kinds, sizes=algorithm.sizes)[kind]


def same(found: Any, expected: Any) -> bool:
    return wire.fingerprint(found) == wire.fingerprint(expected)


def test_a_run_is_a_function_of_its_seed(load: Load) -> None:
    first, again = (run(load(), cohort(load())) for _ in range(2))
    assert first.knowledge == again.knowledge
    assert first.reports == again.reports


def test_every_message_survives_the_wire(load: Load) -> None:
    algorithm = load()
    run_state = server_loop.initial_state(algorithm)
    for closed in run(algorithm, cohort(algorithm)).closed:
        for answer in closed.answers.values():
            algorithm.check(answer.upload)
            sent = (answer.upload, answer.report)
            assert same(through_bytes(algorithm, algorithm.upload, *sent), answer.upload)
            assert same(through_bytes(algorithm, Report, *sent), answer.report)
        run_state = closed.run_state
        state, broadcast = run_state.state, run_state.broadcast
        assert same(through_bytes(algorithm, algorithm.state, state), state)
        assert same(through_bytes(algorithm, algorithm.broadcast, broadcast), broadcast)


def test_started_again_after_a_round_it_ends_the_same(load: Load, tmp_path: Path) -> None:
    """All that counts is in the state, the broadcast and the models' files."""
    expected = run(load(), cohort(load()))
    algorithm = load()
    crew = cohort(algorithm)
    stopped: list[RoundResult[Any, Any, Any]] = []

    def stop(closed: RoundResult[Any, Any, Any]) -> None:
        crew.save(tmp_path)
        stopped.append(closed)

    server_loop.run_rounds(algorithm, crew, 1, server_loop.initial_state(algorithm), stop)
    kept = stopped[0].run_state
    algorithm = load()
    fresh = cohort(algorithm)
    fresh.restore(tmp_path)
    run_state = RunState(
        1,
        through_bytes(algorithm, algorithm.state, kept.state),
        through_bytes(algorithm, algorithm.broadcast, kept.broadcast),
    )
    found = run(algorithm, fresh, run_state)
    assert found.knowledge == expected.knowledge[1:]
    assert found.reports == expected.reports


def test_aggregating_changes_neither_state_nor_uploads(load: Load) -> None:
    algorithm = load()
    closed = run(algorithm, cohort(algorithm)).closed
    before, last = closed[-2].run_state.state, closed[-1]
    uploads = {name: last.answers[name].upload for name in sorted(last.answers)}
    kept = [wire.fingerprint(message) for message in (before, *uploads.values())]
    state, broadcast = algorithm.aggregate_uploads(before, uploads)
    assert same(state, last.run_state.state)
    assert same(broadcast, last.run_state.broadcast)
    assert [wire.fingerprint(message) for message in (before, *uploads.values())] == kept


def test_a_single_client_and_one_that_cannot_train(load: Load) -> None:
    algorithm = load()
    for name in ("client-00", "client-02"):
        ended = run(algorithm, LocalCohort({name: member(name, algorithm)}))
        assert len(ended.closed) == ROUNDS


def test_with_some_of_the_clients_and_lost_uploads(load: Load) -> None:
    """Who does not train evaluates, and is not changed by the others' training."""
    lossy = Participation(tuple(HELD), 0.67, drop_rate=0.5, seed=3)
    algorithm = load()
    crew = cohort(algorithm)
    ended = run(algorithm, crew, some=lossy)
    assert ended.knowledge == run(load(), cohort(load()), some=lossy).knowledge
    for closed in ended.closed:
        trained = {name for name, answer in closed.answers.items() if answer.upload is not None}
        whole = closed.number < algorithm.full_rounds
        assert trained == (set(HELD) if whole else lossy.joining(closed.number))
        assert set(closed.answers) == set(HELD)
    nobody = run(algorithm, cohort(algorithm), some=Participation(tuple(HELD), 0.3, drop_rate=0.9))
    known = [wire.fingerprint(algorithm.start()[1]), *nobody.knowledge]
    assert known[algorithm.full_rounds :] == [known[-1]] * (ROUNDS + 1 - algorithm.full_rounds)


def test_late_uploads_are_left_out(load: Load) -> None:
    """They count neither for the round nor later; their sender continues with its own model."""
    late = Participation(tuple(HELD), deadline=1.0, durations={"client-00": 1.5})
    algorithm = load()
    ended = run(algorithm, cohort(algorithm), some=late)
    assert ended.knowledge == run(load(), cohort(load()), some=late).knowledge
    whole = algorithm.full_rounds
    first = ended.closed[whole]
    begun = ended.closed[whole - 1].run_state.state if whole else algorithm.start()[0]
    uploads = {name: first.answers[name].upload for name in ("client-01", "client-02")}
    assert same(first.run_state.broadcast, algorithm.aggregate_uploads(begun, uploads)[1])


def test_whole_rounds_lose_nobody_and_nothing(load: Load) -> None:
    """FedDBE's initialisation period is one, and FedAvg has none."""
    algorithm = load()
    expected = {feddbe.Shared: 1, weights.Weights: 0}
    assert algorithm.full_rounds == expected.get(algorithm.state, algorithm.full_rounds)
    some = Participation(tuple(HELD), 0.34, drop_rate=0.9, deadline=0.1)
    both = run(load(), cohort(load()), some=some), run(load(), cohort(load()))
    for number in range(algorithm.full_rounds):
        assert both[0].knowledge[number] == both[1].knowledge[number]


def test_a_client_joins_after_the_last_round(load: Load) -> None:
    """It is evaluated with the last broadcast, trains, and is evaluated as it is then."""
    algorithm = load()
    two = LocalCohort({name: member(name, algorithm) for name in list(HELD)[1:]})
    broadcast = run(algorithm, two).closed[-1].run_state.broadcast
    new = member("client-00", algorithm)
    before, after = new.join(broadcast)
    assert before.test_correct == member("client-00", load()).finish(broadcast).test_correct
    assert after.test_samples == before.test_samples == CLASSES
    assert after.seconds_training > 0


def test_every_variant_runs(load: Load, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["load"]
    variants = {"released": {}, **algorithms.info(name).variants}
    for variant in variants:
        algorithm = load(variant=variant)
        ended = run(algorithm, cohort(algorithm))
        assert all(0 <= correct <= CLASSES for correct in ended.reports.values())
    facts = algorithms.supported_options(name, **FACTS)
    configs = {algorithms.config(name, **facts, **options) for options in variants.values()}
    assert len(configs) == len(variants)


def test_the_classifier_is_exported(load: Load, tmp_path: Path) -> None:
    algorithm = load()
    if algorithm.make_client is not None:
        return  # its export is another one, of tests/gaussian/test_exporting.py
    client = member("client-00", algorithm)
    closed = run(algorithm, LocalCohort({"client-00": client})).closed
    targets = algorithm.targets(closed[-1].run_state.broadcast, torch.device("cpu"))
    scores = Classifier(
        client.model, lambda model, inputs: algorithm.predict(model, inputs, targets), pixels=False
    )
    path, names = tmp_path / "model.onnx", ("a", "b", "c", "d")
    export(scores, path, shape=SHAPE, class_names=names, pixels=False, facts={})
    assert check(path, scores, client.example_inputs(CLASSES)) < 1e-3


def test_who_only_averages_counts_uploads_by_a_factor(load: Load, request: Any) -> None:
    """Factors of 1 change no bit; what counts a millionth is as good as absent."""
    algorithm, name = load(), request.node.callspec.params["load"]
    weighted = algorithm.aggregate_weighted
    remedy = "averages=True in INFO, aggregate_weighted and summing of its Algorithm: all or none"
    assert (weighted is not None) == algorithms.info(name).averages, remedy
    if weighted is None:
        return
    answers = run(algorithm, cohort(algorithm)).closed[0].answers.values()
    uploads = [each.upload for each in answers]
    state, _ = algorithm.start()
    for count in (3, 2):
        plain = algorithm.aggregate(state, uploads[:count])
        made = weighted(state, uploads[:count], [1.0] * count)
        assert all(same(*both) for both in zip(made, plain, strict=True))
    alone = numbers(algorithm.aggregate(state, uploads[:1])[1])
    few, half = (
        np.nanmax(np.abs(numbers(weighted(state, uploads[:2], [1.0, factor])[1]) - alone))
        for factor in (1e-6, 1.0)
    )
    assert few < 0.01 * half


def numbers(broadcast: Any) -> npt.NDArray[np.float64]:
    """Return a broadcast's numbers as one vector; NaN for those of a class that is not known."""
    found = dict(vars(broadcast))
    known_C = found.pop("known_C", None)
    parts = [np.array(each, np.float64) for each in found.values()]
    if known_C is not None:
        for each in parts:
            each[~known_C] = np.nan
    return np.concatenate([each.ravel() for each in parts])
