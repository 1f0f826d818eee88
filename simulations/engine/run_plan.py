"""What the settings of a run come to once its data is known: who takes part, and with what."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from edgeloop import algorithms, models
from edgeloop.bases.running import Base
from edgeloop.data import Federation
from edgeloop.generator import Generator
from edgeloop.participation import Participation, ParticipationPolicy, durations
from edgeloop.privacy import accounting, dp_sgd
from edgeloop.protocol.task import WIDTH
from simulations.engine import replay, semi_asynchronous
from simulations.engine.client_factory import ClientFactory
from simulations.engine.flops import forward_flops
from simulations.engine.privacy_spending import SimulatedBudget
from simulations.engine.semi_asynchronous import Schedule
from simulations.settings import RunSettings

STEP_FLOPS = 4_000_000
"""A sample's share of a training step's fixed cost, in operations of a forward pass.

Fitted to HtFE-sen-2 on one core: 0.55 and 0.40 ms a sample for 2.5 and 0.7 million operations.
"""


class Plan:
    """A run whose data is known: the parts that its settings come to, each found once.

    Every client has its name and its architecture, and the run is bound to its generator or base.
    Nobody else opens the settings: what goes on from here are the parts.

    Args:
        settings: of the run.
        federation: its data.
        generator: its generator, if it needs one.
        base: its base, if its clients compute on one.

    Attributes:
        clients: makes the clients.
        generator: that the algorithm's server part asks; None without.
        sizes: each client's numbers of training and test samples, by its name.
        attendance: who takes part in which round.
        course: how the rounds go on.
        placement: where the clients compute.
        asked: the settings, as the run's folder keeps them.

    Raises:
        ConfigError: if the algorithm needs clients that are alike, and they are not.
        ModelError: if an architecture does not exist or does not fit the data.
    """

    def __init__(
        self,
        settings: RunSettings,
        federation: Federation,
        generator: Generator | None = None,
        base: Base | None = None,
    ) -> None:
        training, shape, classes = settings.training(), federation.shape, federation.classes
        group = training.models or default_group(shape)
        architectures = models.client_architectures(group, len(federation))
        width = _width(training.width, shape, classes, architectures)
        first = models.auxiliary(training.models or None, architectures[0])
        options = {
            **settings.algorithm_options(classes, shape, first, width),
            **algorithms.generator_options(training.algorithm, generator),
            **algorithms.base_options(training.algorithm, base),
        }
        if not algorithms.info(training.algorithm).base or options.get(
            "network"
        ):  # else none is made
            for architecture in dict.fromkeys(architectures):
                models.feature_width(architecture, shape, width, classes)
        algorithms.check_same_architecture(training.algorithm, architectures, **options)
        names = client_names(federation)
        self.clients = ClientFactory(
            training=replace(training, models=group, width=width),
            options=options,
            models=dict(zip(names, architectures, strict=True)),
            shape=shape,
            classes=classes,
            base=base,
        )
        if training.secret is not None:
            _check_private(self.clients)
        self.generator = generator
        self.sizes = dict(zip(names, federation.sizes(), strict=True))
        self.attendance, self.course = settings.attendance(), settings.course()
        self.placement = settings.placement()
        self.asked = {**settings.record(), "width": width}

    @cached_property
    def costs(self) -> Mapping[str, float]:
        """What a round takes each client: training samples times what one costs its model."""
        architectures = self.clients.models
        flops = {each: self._flops(each) + STEP_FLOPS for each in set(architectures.values())}
        return {
            name: float(self.sizes[name][0] * flops[architecture])
            for name, architecture in architectures.items()
        }

    def _flops(self, architecture: str) -> int:
        clients = self.clients
        width = clients.training.width
        model = models.build(architecture, clients.shape, clients.classes, width)
        return forward_flops(model, clients.shape)

    def participation(self) -> ParticipationPolicy | None:
        """Return who takes part in which round; None for everybody in all of them.

        Raises:
            ConfigError: if the record that is to be replayed is of other clients or fewer rounds.
        """
        asked = self.attendance
        if asked.replay is not None:
            return replay.policy(asked.replay, asked.rounds, self.clients.models)
        if self.schedule is not None:
            return self.schedule.policy
        if asked.join_ratio == 1 and not asked.drop_rate and asked.deadline is None:
            return None
        return Participation(
            names=tuple(self.clients.models),
            join_ratio=asked.join_ratio,
            varying=asked.varying,
            drop_rate=asked.drop_rate,
            deadline=asked.deadline,
            durations={} if asked.deadline is None else self._durations(),
            seed=asked.seed,
            full_rounds=self.clients.algorithm.full_rounds,
        )

    @cached_property
    def schedule(self) -> Schedule | None:
        """Who takes part in which semi-asynchronous round, and when it ends; None without them."""
        asked = self.attendance
        if asked.buffer is None:
            return None
        return semi_asynchronous.schedule(
            self._durations(), asked.rounds, asked.buffer, asked.max_staleness, asked.rule
        )

    def _durations(self) -> Mapping[str, float]:
        asked = self.attendance
        return durations(self.costs, asked.slow_rate, asked.slow_factor, asked.seed)

    def spending(self, others: ParticipationPolicy | None) -> SimulatedBudget | None:
        """Return what clients spend of their privacy; None for a run without.

        Raises:
            ConfigError: if opacus is not installed.
        """
        training, recipe = self.clients.training, self.clients.algorithm.recipe
        if training.secret is None or recipe is None:
            return None
        privacy = training.secret.privacy
        costs = {
            name: accounting.round_cost(
                privacy,
                samples=train,
                batch_size=training.batch_size,
                epochs=recipe.epochs,
                prototypes=recipe.collect is not None,
            )
            for name, (train, _) in self.sizes.items()
        }
        return SimulatedBudget(privacy, costs, others)

    @property
    def workers(self) -> int:
        """How many processes the clients train in."""
        wanted = self.placement.workers
        if self.placement.device == "cuda":
            return 1
        return min(os.cpu_count() or 1 if wanted == "auto" else wanted, len(self.clients.models))


def _width(asked: int, shape: tuple[int, ...], classes: int, architectures: Sequence[str]) -> int:
    """Return the width of all clients' own classifier, if they have one, or the one asked for.

    Then nothing is pooled, and the classifier's own last layer is the head.
    """
    name = architectures[0]
    alone = len(set(architectures)) == 1 and models.is_whole(name)
    if not alone or asked != WIDTH:
        return asked
    return models.feature_width(name, shape, WIDTH, classes)


def _check_private(clients: ClientFactory) -> None:
    """Refuse a run that cannot be private, before anything is written.

    Raises:
        ConfigError: if its algorithm cannot.
        ModelError: if a model cannot.
    """
    algorithms.check_private(clients.training.algorithm, clients.algorithm)
    width = clients.training.width
    for architecture in set(clients.models.values()):
        model = models.build(architecture, clients.shape, clients.classes, width)
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
