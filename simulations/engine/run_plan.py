"""Who takes part in a simulation, and where they compute: in this process or in workers."""

import dataclasses
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from edgeloop import algorithms, models
from edgeloop.algorithm import Algorithm
from edgeloop.bases.running import Base
from edgeloop.client import Member
from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.stacked import StackedCohort
from edgeloop.cohorts.workers import WorkerCohort
from edgeloop.data import ClientData, Federation
from edgeloop.data.pfllib import FolderFederation
from edgeloop.data.samples import Shard
from edgeloop.generator import Generator
from edgeloop.participation import Attendance, Participation, durations
from edgeloop.privacy import accounting, dp_sgd
from edgeloop.training.compute import usable_device
from simulations.engine.flops import forward_flops
from simulations.engine.privacy_spending import Spending
from simulations.settings import RunSettings

STEP_FLOPS = 4_000_000
"""A sample's share of a training step's fixed cost, in operations of a forward pass.

Fitted to HtFE-sen-2 on one core: 0.55 and 0.40 ms a sample for 2.5 and 0.7 million operations.
"""

Crew = LocalCohort[Any, Any] | WorkerCohort[Any, Any]


class Shares(Protocol):
    """Gives a client's data by its number; must be picklable."""

    def client(self, client: int) -> ClientData:
        """Return what one client's model reads."""
        ...


@dataclass(frozen=True)
class Plan:
    """A run whose data is known.

    Attributes:
        settings: what was asked for.
        shape: of one input, channels first.
        classes: C.
        models: each client's architecture by the client's name; the names in number order.
        bound: the hyperparameters that bind the run to its generator or its base.
        base: that clients compute their features with; None where they train networks.
    """

    settings: RunSettings
    shape: tuple[int, ...]
    classes: int
    models: Mapping[str, str]
    bound: Mapping[str, Any] = field(default_factory=dict)
    base: Base | None = None

    def load(self, generator: Generator | None = None) -> Algorithm[Any, Any, Any]:
        """Build the algorithm; its server's half with the generator, where it needs one.

        Raises:
            ConfigError: naming a hyperparameter that does not exist or is out of range.
            GeneratorError: if the generator is not the one that the run is bound to.
        """
        return algorithms.load(self.settings.algorithm, generator, **self.chosen())

    def hyperparameters(self) -> dict[str, Any]:
        """Return every hyperparameter by name, the variant and the options applied."""
        return dataclasses.asdict(algorithms.config(self.settings.algorithm, **self.chosen()))

    def chosen(self) -> dict[str, Any]:
        """Return the fields of the algorithm's Config that this run decides."""
        first = models.auxiliary(self.settings.models, next(iter(self.models.values())))
        return {**self.settings.chosen(self.classes, self.shape, first), **self.bound}

    def participation(self, federation: Federation) -> Participation | None:
        """Return who takes part in which round; None for everybody in all of them."""
        asked = self.settings
        if asked.join_ratio == 1 and not asked.drop_rate and asked.deadline is None:
            return None
        times: Mapping[str, float] = {}
        if asked.deadline is not None:
            known = costs(self, federation)
            times = durations(known, asked.slow_rate, asked.slow_factor, asked.seed)
        return Participation(
            *(tuple(self.models), asked.join_ratio, asked.random_join_ratio, asked.drop_rate),
            *(asked.deadline, times, asked.seed, self.load().whole_rounds),
        )

    def spending(self, federation: Federation, others: Attendance | None) -> Spending | None:
        """Return what clients spend of their privacy; None for a run without.

        Raises:
            ConfigError: if opacus is not installed.
        """
        asked, recipe = self.settings.privacy, self.load().recipe
        if asked is None or recipe is None:
            return None
        costs = {
            name: accounting.of_round(
                asked,
                samples=train,
                batch_size=self.settings.batch_size,
                epochs=recipe.epochs,
                prototypes=recipe.sees is not None,
            )
            for name, (train, _) in zip(self.models, federation.sizes(), strict=True)
        }
        return Spending(asked, costs, others)

    @property
    def workers(self) -> int:
        """How many processes the clients train in."""
        wanted = self.settings.workers
        if self.settings.device == "cuda":
            return 1
        return min(os.cpu_count() or 1 if wanted == "auto" else wanted, len(self.models))


@dataclass(frozen=True)
class Enlist:
    """Makes the cohort of the named clients; picklable, so that a worker can make its own.

    Attributes:
        plan: the run's.
        shares: the clients' data.
        stacked: the architectures whose clients train together.
    """

    plan: Plan
    shares: Shares
    stacked: frozenset[str] = frozenset()

    def __call__(self, names: Sequence[str]) -> LocalCohort[Any, Any]:
        """Read the named clients' data and build their models."""
        numbers = {name: number for number, name in enumerate(self.plan.models)}
        members = {name: self.member(name, numbers[name]) for name in names}
        recipe = self.plan.load().recipe
        kinds = {name: kind for name, kind in self.plan.models.items() if kind in self.stacked}
        if recipe is None or not kinds:
            return LocalCohort(members)
        device = usable_device(self.plan.settings.device)
        return StackedCohort(members, recipe, kinds, device)

    def member(self, name: str, number: int) -> Any:
        """Make one client's half by its name and number."""
        plan, settings = self.plan, self.plan.settings
        algorithm = plan.load()
        if algorithm.half is not None:
            return algorithm.half(name, plan.base, self.shares.client(number))
        # One seed for all: clients of one architecture start from the same weights, as in HtFLlib.
        model = models.build(
            plan.models[name], plan.shape, plan.classes, settings.width, settings.seed
        )
        return Member(
            name,
            algorithm,
            model,
            self.shares.client(number),
            batch_size=settings.batch_size,
            seed=settings.seed,
            shuffle=settings.shuffle,
            compute=settings.compute,
            secret=settings.secret,
        )


@dataclass(frozen=True)
class Spool:
    """Clients' data in a file each, so that a worker need not hold what is not its own."""

    folder: Path

    @classmethod
    def write(cls, federation: Federation, folder: Path) -> "Spool":
        """Write every client's samples as they are stored."""
        for client in range(len(federation)):
            shards = federation.shards(client)
            arrays = (*_arrays(shards.train), *_arrays(shards.test))
            np.savez(folder / f"{client}.npz", *arrays)
        return cls(folder)

    def client(self, client: int) -> ClientData:
        """Return what one client's model reads."""
        with np.load(self.folder / f"{client}.npz", allow_pickle=False) as file:
            train_x, train_y, test_x, test_y = (file[f"arr_{i}"] for i in range(4))
        return ClientData(Shard(train_x, train_y).samples(), Shard(test_x, test_y).samples())


def _arrays(shard: Shard) -> tuple[Any, Any]:
    return shard.inputs, shard.labels


def plan(
    settings: RunSettings,
    federation: Federation,
    generator: Generator | None = None,
    base: Base | None = None,
) -> Plan:
    """Give every client its name and its architecture; bind the run to its generator or base.

    Raises:
        ConfigError: if the algorithm needs clients that are alike, and they are not.
        ModelError: if an architecture does not exist or does not fit the data.
    """
    shape = federation.shape
    group = settings.models or default_group(shape)
    architectures = models.members(group, len(federation))
    for architecture in dict.fromkeys(architectures):
        models.feature_width(architecture, shape, settings.width)
    planned = Plan(
        settings,
        shape,
        federation.classes,
        dict(zip(names(federation), architectures, strict=True)),
        {
            **algorithms.generator_options(settings.algorithm, generator),
            **algorithms.base_options(settings.algorithm, base),
        },
        base,
    )
    algorithms.check_alike(settings.algorithm, architectures, **planned.chosen())
    if settings.privacy is not None:
        _check_private(planned)
    return planned


def _check_private(plan: Plan) -> None:
    """Refuse a run that cannot be private, before anything is written.

    Raises:
        ConfigError: if its algorithm cannot.
        ModelError: if a model cannot.
    """
    algorithms.check_private(plan.settings.algorithm, plan.load())
    for architecture in set(plan.models.values()):
        model = models.build(architecture, plan.shape, plan.classes, plan.settings.width)
        dp_sgd.check_model(model, architecture)


def default_group(shape: tuple[int, ...]) -> str:
    """Return the models of clients with inputs of a shape, where nobody says."""
    signal = len(shape) == 3 and shape[1] == 1
    return "htfe-sen-2" if signal else "cnn"


def names(federation: Federation) -> list[str]:
    """Return the clients' names; zero-padded, so that they sort as their numbers do."""
    digits = max(2, len(str(len(federation) - 1)))
    return [f"client-{number:0{digits}}" for number in range(len(federation))]


@contextmanager
def cohort(
    plan: Plan, federation: Federation, stacked: Collection[str] = frozenset()
) -> Iterator[Crew]:
    """Open the run's cohort: in this process for one worker or a GPU, else in workers.

    Either gives the same answers to the bit, unless clients are stacked.

    Args:
        plan: the run's.
        federation: its data.
        stacked: the architectures whose clients train together.
    """
    torch.set_num_threads(1)
    crew = _hire(plan, federation, frozenset(stacked))
    try:
        yield crew
    finally:
        crew.close()


def _hire(plan: Plan, federation: Federation, stacked: frozenset[str]) -> Crew:
    if plan.workers == 1:
        return Enlist(plan, federation, stacked)(list(plan.models))
    if isinstance(federation, FolderFederation):
        enlist = Enlist(plan, federation, stacked)
        return WorkerCohort(enlist, costs(plan, federation), plan.workers)
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as folder:
        enlist = Enlist(plan, Spool.write(federation, Path(folder)), stacked)
        return WorkerCohort(enlist, costs(plan, federation), plan.workers)


def costs(plan: Plan, federation: Federation) -> dict[str, float]:
    """Return what a round takes each client: training samples times what one costs its model."""
    flops = {each: _flops(each, plan) + STEP_FLOPS for each in set(plan.models.values())}
    sizes = federation.sizes()
    return {
        name: float(train * flops[architecture])
        for (name, architecture), (train, _) in zip(plan.models.items(), sizes, strict=True)
    }


def _flops(architecture: str, plan: Plan) -> int:
    model = models.build(architecture, plan.shape, plan.classes, plan.settings.width)
    return forward_flops(model, plan.shape)
