"""Three rounds of a case as a few numbers: what each client got right, and sketches of arrays.

A sketch is an array's Euclidean norm and its products with three fixed vectors, so that two arrays
of equal sketches are equal. Weights are sketched as what has changed of them since the run began:
a round moves them by a hundredth of their norm, and a comparison must see a part of that.
"""

import math
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from edgeloop import algorithms, generators, models, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.client import Client, Report
from edgeloop.cohorts.local import LocalCohort
from edgeloop.knowledge import low_rank
from edgeloop.participation import Participation
from edgeloop.protocol import wire
from edgeloop.server_loop import RoundResult
from tests.parity.cases import Case
from tests.parity.worlds import World

Array = npt.NDArray[Any]
Sketch = list[float]
Record = dict[str, Any]
PRODUCTS = 3
BATCH = 10
SEED = 0


def play(case: Case, world: World) -> list[Record]:
    """Run a case; return a record of each round, and one of the last evaluation."""
    algorithm = loaded(case, world)
    kinds = (world.alike,) if algorithms.info(case.algorithm).same_architecture else world.mixed
    cohort = {
        name: member(name, number, algorithm, world, kinds)
        for number, name in enumerate(world.clients)
    }
    begun = server_loop.initial_state(algorithm)
    watch = Watch(case, world, cohort, begun.broadcast)
    some = Participation(tuple(cohort), case.joining, seed=SEED) if case.joining < 1 else None
    _, last = server_loop.run_rounds(
        algorithm, LocalCohort(cohort), case.rounds, begun, watch.after, participation=some
    )
    return [*watch.records, evaluated(last)]


def loaded(case: Case, world: World) -> Algorithm[Any, Any, Any]:
    """Build the case's algorithm for a world."""
    info = algorithms.info(case.algorithm)
    generator = generators.load(generators.EMBEDDED) if info.generator else None
    facts = algorithms.supported_options(
        case.algorithm,
        classes=world.classes,
        width=world.width,
        shape=world.shape,
        architecture=world.alike,
        seed=SEED,
    )
    bound = algorithms.generator_options(case.algorithm, generator)
    return algorithms.load(case.algorithm, generator, **{**facts, **bound, **case.options})


def member(
    name: str,
    number: int,
    algorithm: Algorithm[Any, Any, Any],
    world: World,
    kinds: tuple[str, ...],
) -> Client[Any, Any]:
    """Make one client, with the first weights that all of its architecture have."""
    kind = kinds[number % len(kinds)]
    model = models.build(kind, world.shape, world.classes, world.width, SEED)
    return Client(name, algorithm, model, world.clients[name], batch_size=BATCH, seed=SEED)


class Watch:
    """Sketches a run round by round.

    Args:
        case: the run.
        world: whose clients run.
        crew: they, as they are before the first round.
        broadcast: what the first round opens with.
    """

    def __init__(
        self, case: Case, world: World, crew: Mapping[str, Client[Any, Any]], broadcast: Any
    ) -> None:
        self._shapes = mentee_shapes(world) if case.algorithm == "fedkd" else None
        self._crew = crew
        self._weights = {name: learned(each.model) for name, each in crew.items()}
        self._broadcast = self._read(broadcast)
        first = {name: sketches(each) for name, each in self._weights.items()}
        self.records: list[Record] = []
        self._before: Record = {"first": first}

    def after(self, closed: RoundResult[Any, Any, Any]) -> None:
        """Add a round's record."""
        answers = closed.answers
        self.records.append(
            {
                **self._before,
                **evaluated({name: each.report for name, each in answers.items()}),
                "weights": {
                    name: sketches(self._moved(name, each.model))
                    for name, each in self._crew.items()
                },
                "uploads": {
                    name: self._sketched(each.upload)
                    for name, each in answers.items()
                    if each.upload is not None
                },
                "broadcast": self._sketched(closed.run_state.broadcast),
            }
        )
        self._before = {}

    def _moved(self, name: str, model: nn.Module) -> dict[str, Array]:
        begun = self._weights[name]
        return {group: values - begun[group] for group, values in learned(model).items()}

    def _sketched(self, message: Any) -> dict[str, Sketch]:
        read = self._read(message)
        return sketches({name: self._changed(name, values) for name, values in read.items()})

    def _changed(self, name: str, values: Array) -> Array:
        """Return a field as what differs of the first broadcast's field of that name and size."""
        begun = self._broadcast.get(name)
        return values if begun is None or begun.shape != values.shape else values - begun

    def _read(self, message: Any) -> dict[str, Array]:
        """Return a message's arrays; of factors what they stand for, for their signs are free."""
        found = {name: np.asarray(each, np.float64) for name, each in wire.arrays(message).items()}
        if self._shapes is None or "factors_F" not in found:
            return found
        ranks_T, factors_F = found["ranks_T"].astype(np.int64), found.pop("factors_F")
        return {**found, "expanded_P": low_rank.reconstruct(ranks_T, factors_F, self._shapes)}


def mentee_shapes(world: World) -> list[tuple[int, ...]]:
    """Return the shapes of FedKD's mentee, whose factors cannot be read without them."""
    model = models.build(world.alike, world.shape, world.classes, world.width, SEED)
    return [tuple(parameter.shape) for parameter in model.own()]


def evaluated(reports: Mapping[str, Report]) -> Record:
    """Return what each client got right of its test samples, and its AUC; None for none."""
    return {
        "correct": {name: each.test_correct for name, each in reports.items()},
        "auc": {
            name: None if math.isnan(each.test_auc) else each.test_auc
            for name, each in reports.items()
        },
    }


def learned(model: nn.Module) -> dict[str, Array]:
    """Return a model's parameters by part, "base", "head", "kept", and all its buffers."""
    parts: dict[str, list[Array]] = {}
    for name, parameter in model.named_parameters():
        parts.setdefault(name.split(".")[0], []).append(parameter.detach().numpy())
    for _, buffer in model.named_buffers():
        parts.setdefault("buffers", []).append(buffer.numpy())
    return {part: joined(arrays) for part, arrays in parts.items()}


def joined(arrays: Iterable[Array]) -> Array:
    """Return arrays as one vector, in double precision."""
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays])


def sketches(arrays: Mapping[str, Array]) -> dict[str, Sketch]:
    """Return each array's sketch."""
    return {name: sketch(array) for name, array in arrays.items()}


def sketch(array: Array) -> Sketch:
    """Return an array's norm and its products with the fixed vectors."""
    values = np.asarray(array, np.float64).ravel()
    products = fixed(1 << max(len(values) - 1, 1).bit_length())[:, : len(values)] @ values
    return [float(np.linalg.norm(values)), *map(float, products)]


@cache
def fixed(size: int) -> Array:
    """Return the fixed vectors: cosines of no common period, which every numpy draws alike."""
    steps = np.sqrt([2.0, 3.0, 5.0])[:PRODUCTS, np.newaxis]
    places = np.arange(1, size + 1, dtype=np.float64)
    return np.cos(steps * places + 0.1 * places**0.5)
