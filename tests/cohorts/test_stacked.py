"""Clients in one step learn what they learn by themselves, up to rounding."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from edgeloop import algorithms, models, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.client import Client
from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.stacked import StackedCohort
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.participation import Participation
from edgeloop.protocol import wire
from tests.generators.tiny import write_tiny

SHAPE, CLASSES, WIDTH, BATCH, ROUNDS = (1, 16, 16), 4, 8, 4, 3
SIZES = {"client-00": 9, "client-01": 17, "client-02": 2, "client-03": 12}
"""Training samples; client-02 has no full batch."""

STACKABLE = [
    *("local", "fedavg", "fedper", "lgfedavg", "fedgh", "fedproto", "feddistill", "fedtgp"),
    *("fedktl", "fedorgp", "tinyproto"),
]
TOLERANCE = 2e-4
"""Of weights, after three rounds."""

Crew = LocalCohort[Any, Any]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return OnnxGenerator(write_tiny(tmp_path_factory.mktemp("stacked") / "tiny"))


def built(name: str, generator: OnnxGenerator, **options: Any) -> Algorithm[Any, Any, Any]:
    asked = generator if algorithms.info(name).generator else None
    facts = {"classes": CLASSES, "width": WIDTH, "shape": SHAPE, "architecture": "cnn"}
    few = {"server_epochs": 2, "local_epochs": 2, "pair_batch": 3}
    given = algorithms.supported_options(name, **facts, **few, seed=0)
    return algorithms.load(
        name, asked, **{**given, **algorithms.generator_options(name, asked), **options}
    )


def data(name: str) -> ClientData:
    """Noise around a pattern of each class."""
    random = np.random.default_rng([3, *name.encode()])
    patterns = np.random.default_rng(0).standard_normal((CLASSES, *SHAPE))

    def samples(count: int) -> Samples:
        labels = random.integers(0, CLASSES, count)
        noise = random.standard_normal((count, *SHAPE))
        inputs: npt.NDArray[np.float32] = (patterns[labels] + 0.3 * noise).astype(np.float32)
        return Samples(inputs, labels.astype(np.int64))

    return ClientData(samples(SIZES[name]), samples(6))


def members(
    algorithm: Algorithm[Any, Any, Any], kinds: Mapping[str, str]
) -> dict[str, Client[Any, Any]]:
    return {
        name: Client(
            name,
            algorithm,
            models.build(kind, SHAPE, CLASSES, WIDTH, seed=0),
            data(name),
            batch_size=BATCH,
            seed=0,
        )
        for name, kind in kinds.items()
    }


def stacked(algorithm: Algorithm[Any, Any, Any], kinds: Mapping[str, str]) -> Crew:
    assert algorithm.recipe is not None
    return StackedCohort(members(algorithm, kinds), algorithm.recipe, kinds, torch.device("cpu"))


def ended(
    algorithm: Algorithm[Any, Any, Any],
    crew: Crew,
    some: Participation | None = None,
    count: int = ROUNDS,
) -> list[npt.NDArray[Any]]:
    """Run some rounds; return what the server and the clients have learned, as arrays."""
    begun = server_loop.initial_state(algorithm)
    run_state, _ = server_loop.run_rounds(
        algorithm, crew, count, begun, lambda closed: None, participation=some
    )
    weights = [array for each in crew._clients.values() for array in each.weights().values()]
    return [*wire.arrays(run_state.broadcast).values(), *weights]


def assert_close(
    found: list[npt.NDArray[Any]], expected: list[npt.NDArray[Any]], tolerance: float = TOLERANCE
) -> None:
    """Pixels may be rounded to the next one, and what has learned from those then differs more."""
    for ours, theirs in zip(found, expected, strict=True):
        if ours.dtype == np.uint8:
            assert np.abs(ours.astype(int) - theirs).max(initial=0) <= 1
        else:
            np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=tolerance)


def test_these_are_the_algorithms_with_a_recipe(generator: OnnxGenerator) -> None:
    """Others may come."""
    found = {name for name in algorithms.built_in() if built(name, generator).recipe is not None}
    assert found >= set(STACKABLE)


@pytest.mark.parametrize("name", ["fedavg", "fedtgp", "tinyproto"])
def test_together_they_tell_the_losses_that_they_tell_alone(
    name: str, generator: OnnxGenerator
) -> None:
    """Of every step, recorded ones too; of who has no full batch, none."""
    algorithm = built(name, generator, local_epochs=6)
    kinds = dict.fromkeys(SIZES, "cnn")
    alone, together = LocalCohort(members(algorithm, kinds)), stacked(algorithm, kinds)
    for crew in (alone, together):
        ended(algorithm, crew)
    told = [
        {client: each.training_loss for client, each in crew._clients.items()}  # type: ignore[attr-defined]  # networks
        for crew in (alone, together)
    ]
    assert told[1].pop("client-02") is told[0].pop("client-02") is None
    assert told[1] == pytest.approx(told[0], rel=1e-3)
    assert len(set(told[0].values())) == 3
    sitting_out = server_loop.initial_state(algorithm).broadcast
    together.ask(0, sitting_out, {"client-00"})
    assert together._clients["client-01"].training_loss is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", STACKABLE)
def test_together_they_learn_what_they_learn_alone(name: str, generator: OnnxGenerator) -> None:
    kinds = dict.fromkeys(SIZES, "cnn")
    algorithm = built(name, generator)
    alone = ended(algorithm, LocalCohort(members(algorithm, kinds)))
    tolerance = 20 * TOLERANCE if name == "fedktl" else TOLERANCE
    assert_close(ended(algorithm, stacked(algorithm, kinds)), alone, tolerance)


def test_the_tolerance_is_small_beside_what_they_learn(generator: OnnxGenerator) -> None:
    kinds = dict.fromkeys(SIZES, "cnn")
    algorithm = built("local", generator)
    before = [each.weights() for each in members(algorithm, kinds).values()]
    after = ended(algorithm, stacked(algorithm, kinds))
    first = [array for weights in before for array in weights.values()]
    moved = max(np.abs(a - b).max() for a, b in zip(first, after, strict=True))
    assert moved > 50 * TOLERANCE


def test_batch_normalisation_counts_what_each_client_sees(generator: OnnxGenerator) -> None:
    """Of one round: small batches' statistics make much of a little rounding soon."""
    kinds = dict.fromkeys(SIZES, "resnet4")
    algorithm = built("fedgh", generator)
    alone = ended(algorithm, LocalCohort(members(algorithm, kinds)), count=1)
    assert_close(ended(algorithm, stacked(algorithm, kinds), count=1), alone)


def test_every_architecture_has_its_own_stack(generator: OnnxGenerator) -> None:
    kinds = dict(zip(SIZES, ("cnn", "hcnn1", "cnn", "hcnn1"), strict=True))
    algorithm = built("fedproto", generator)
    alone = ended(algorithm, LocalCohort(members(algorithm, kinds)))
    assert_close(ended(algorithm, stacked(algorithm, kinds)), alone)


def test_who_does_not_join_only_evaluates(generator: OnnxGenerator) -> None:
    kinds = dict.fromkeys(SIZES, "cnn")
    algorithm = built("fedtgp", generator)
    some = Participation(tuple(SIZES), 0.5, seed=4)
    alone = ended(algorithm, LocalCohort(members(algorithm, kinds)), some)
    assert_close(ended(algorithm, stacked(algorithm, kinds), some), alone)
