"""What the settings of a run come to once its data is known: who takes part, and with what."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeloop import algorithms, models
from edgeloop.algorithm import Algorithm
from edgeloop.bases.running import Base
from edgeloop.client import Client
from edgeloop.data import ClientData, Federation
from edgeloop.generator import Generator
from edgeloop.models.split import SplitModel
from edgeloop.participation import Participation, ParticipationPolicy, durations
from edgeloop.privacy import accounting, dp_sgd
from edgeloop.protocol.task import WIDTH
from edgeloop.training import metrics
from simulations.engine import replay, semi_asynchronous
from simulations.engine.flops import forward_flops
from simulations.engine.privacy_spending import SimulatedBudget
from simulations.engine.semi_asynchronous import Schedule
from simulations.settings import RunSettings

STEP_FLOPS = 4_000_000
"""A sample's share of a training step's fixed cost, in operations of a forward pass.

Fitted to HtFE-sen-2 on one core: 0.55 and 0.40 ms a sample for 2.5 and 0.7 million operations.
"""


@dataclass(frozen=True)
class Plan:
    """A run whose data is known: what its settings come to, found once; picklable.

    Attributes:
        settings: what was asked for.
        shape: of one input, channels first.
        classes: C.
        models: each client's architecture by the client's name; the names in number order.
        sizes: each client's numbers of training and test samples, by its name.
        options: the fields of the algorithm's Config that the run decides.
        base: that clients compute their features with; None where they train networks.
    """

    settings: RunSettings
    shape: tuple[int, ...]
    classes: int
    models: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    options: Mapping[str, Any]
    base: Base | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is found again where the plan goes: functions have no pickle."""
        names = {each.name for each in dataclasses.fields(self)}
        return {name: value for name, value in self.__dict__.items() if name in names}

    @cached_property
    def algorithm(self) -> Algorithm[Any, Any, Any]:
        """The algorithm as its clients have it, built once a process.

        Raises:
            ConfigError: naming a hyperparameter that does not exist or is out of range.
        """
        return algorithms.load(self.settings.algorithm, None, **self.options)

    def build_model(self, architecture: str) -> SplitModel:
        """Return a model with its first weights; those of one architecture are all the same.

        Source: HtFLlib, whose clients start alike.
        """
        settings = self.settings
        return models.build(architecture, self.shape, self.classes, settings.width, settings.seed)

    def make_client(self, name: str, architecture: str, data: ClientData) -> Any:
        """Return a client of the run's algorithm.

        Args:
            name: of the client.
            architecture: of its model, if it trains one.
            data: its samples.
        """
        if self.algorithm.make_client is not None:
            return self.algorithm.make_client(name, self.base, data)
        settings = self.settings
        client = Client(
            name,
            self.algorithm,
            self.build_model(architecture),
            data,
            batch_size=settings.batch_size,
            seed=settings.seed,
            shuffle=settings.shuffle,
            compute=settings.compute,
            secret=settings.secret,
            descents=settings.descents,
        )
        client.metrics = {each: metrics.find(each) for each in settings.metrics}
        return client

    def load(self, generator: Generator | None = None) -> Algorithm[Any, Any, Any]:
        """Return the algorithm; its server's part with the generator, where it needs one.

        Raises:
            ConfigError: as `algorithm`.
            GeneratorError: if the generator is not the one that the run is bound to.
        """
        if generator is None:
            return self.algorithm
        return algorithms.load(self.settings.algorithm, generator, **self.options)

    def hyperparameters(self) -> dict[str, Any]:
        """Return every hyperparameter by name, the variant and the options applied."""
        return dataclasses.asdict(algorithms.config(self.settings.algorithm, **self.options))

    @cached_property
    def costs(self) -> Mapping[str, float]:
        """What a round takes each client: training samples times what one costs its model."""
        flops = {each: self._flops(each) + STEP_FLOPS for each in set(self.models.values())}
        return {
            name: float(self.sizes[name][0] * flops[architecture])
            for name, architecture in self.models.items()
        }

    def _flops(self, architecture: str) -> int:
        model = models.build(architecture, self.shape, self.classes, self.settings.width)
        return forward_flops(model, self.shape)

    def participation(self) -> ParticipationPolicy | None:
        """Return who takes part in which round; None for everybody in all of them.

        Raises:
            ConfigError: if the record that is to be replayed is of other clients or fewer rounds.
        """
        settings = self.settings
        if settings.replay is not None:
            return replay.policy(Path(settings.replay), settings.rounds, self.models)
        if self.schedule is not None:
            return self.schedule.policy
        if settings.join_ratio == 1 and not settings.drop_rate and settings.deadline is None:
            return None
        times: Mapping[str, float] = {}
        if settings.deadline is not None:
            times = durations(self.costs, settings.slow_rate, settings.slow_factor, settings.seed)
        return Participation(
            names=tuple(self.models),
            join_ratio=settings.join_ratio,
            varying=settings.random_join_ratio,
            drop_rate=settings.drop_rate,
            deadline=settings.deadline,
            durations=times,
            seed=settings.seed,
            full_rounds=self.algorithm.full_rounds,
        )

    @cached_property
    def schedule(self) -> Schedule | None:
        """Who takes part in which semi-asynchronous round, and when it ends; None without them."""
        settings = self.settings
        if settings.buffer is None:
            return None
        return semi_asynchronous.schedule(
            durations(self.costs, settings.slow_rate, settings.slow_factor, settings.seed),
            settings.rounds,
            settings.buffer,
            settings.max_staleness,
            settings.rule,
        )

    def spending(self, others: ParticipationPolicy | None) -> SimulatedBudget | None:
        """Return what clients spend of their privacy; None for a run without.

        Raises:
            ConfigError: if opacus is not installed.
        """
        privacy, recipe = self.settings.privacy, self.algorithm.recipe
        if privacy is None or recipe is None:
            return None
        costs = {
            name: accounting.round_cost(
                privacy,
                samples=train,
                batch_size=self.settings.batch_size,
                epochs=recipe.epochs,
                prototypes=recipe.collect is not None,
            )
            for name, (train, _) in self.sizes.items()
        }
        return SimulatedBudget(privacy, costs, others)

    @property
    def workers(self) -> int:
        """How many processes the clients train in."""
        wanted = self.settings.workers
        if self.settings.device == "cuda":
            return 1
        return min(os.cpu_count() or 1 if wanted == "auto" else wanted, len(self.models))


def make_plan(
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
    shape, classes = federation.shape, federation.classes
    group = settings.models or default_group(shape)
    architectures = models.client_architectures(group, len(federation))
    settings = _with_own_width(settings, shape, classes, architectures)
    for architecture in dict.fromkeys(architectures):
        models.feature_width(architecture, shape, settings.width, classes)
    names = client_names(federation)
    first = models.auxiliary(settings.models, architectures[0])
    options = {
        **settings.algorithm_options(classes, shape, first),
        **algorithms.generator_options(settings.algorithm, generator),
        **algorithms.base_options(settings.algorithm, base),
    }
    algorithms.check_same_architecture(settings.algorithm, architectures, **options)
    planned = Plan(
        settings,
        shape,
        classes,
        models=dict(zip(names, architectures, strict=True)),
        sizes=dict(zip(names, federation.sizes(), strict=True)),
        options=options,
        base=base,
    )
    if settings.privacy is not None:
        _check_private(planned)
    return planned


def _with_own_width(
    settings: RunSettings, shape: tuple[int, ...], classes: int, architectures: Sequence[str]
) -> RunSettings:
    """Return settings whose width is that of all clients' own classifier, unless another is asked.

    Then nothing is pooled, and the classifier's own last layer is the head.
    """
    name = architectures[0]
    alone = len(set(architectures)) == 1 and models.is_whole(name)
    if not alone or settings.width != WIDTH:
        return settings
    width = models.feature_width(name, shape, WIDTH, classes)
    return settings.model_copy(update={"width": width})


def _check_private(plan: Plan) -> None:
    """Refuse a run that cannot be private, before anything is written.

    Raises:
        ConfigError: if its algorithm cannot.
        ModelError: if a model cannot.
    """
    algorithms.check_private(plan.settings.algorithm, plan.algorithm)
    for architecture in set(plan.models.values()):
        model = models.build(architecture, plan.shape, plan.classes, plan.settings.width)
        dp_sgd.check_model(model, architecture)


_LONGER = 4
"""Times that a window of sensors has more steps than sensors."""


def default_group(shape: tuple[int, ...]) -> str:
    """Return the models of clients with inputs of a shape, where nobody says."""
    signal = len(shape) == 3 and shape[0] not in (1, 3) and shape[2] >= _LONGER * shape[1]
    signal = signal or (len(shape) == 3 and shape[1] == 1)
    return "htfe-sen-2" if signal else "cnn"


def client_names(federation: Federation) -> list[str]:
    """Return the clients' names; zero-padded, so that they sort as their numbers do."""
    digits = max(2, len(str(len(federation) - 1)))
    return [f"client-{number:0{digits}}" for number in range(len(federation))]
