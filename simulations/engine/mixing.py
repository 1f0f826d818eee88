"""What a simulation's clients would put into use: each one's own weight; see docs/mixing.md."""

import logging
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from edgeloop import algorithms, expert, mixture
from edgeloop.algorithm import Algorithm
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.mixing import experts
from edgeloop.models.split import SplitModel
from simulations.engine.client_factory import ClientFactory
from simulations.engine.run_cohort import SimulatedCohort

log = logging.getLogger(__name__)

HITS = "hits"
"""In `mix` of a client with a network: a bit a test sample as in `clients_table.HITS`, in hex."""


@dataclass(frozen=True)
class ClientMixing:
    """Mixes a client where it lives; picklable, so that a worker can.

    Attributes:
        clients: makes the run's clients.
        broadcast: the last one.
        rounds: of training, that the run had.
    """

    clients: ClientFactory
    broadcast: Any
    rounds: int

    def __call__(self, name: str, half: Any) -> dict[str, Any]:
        """Return what a client ends with; see `mixture.MixedModel.as_summary`."""
        if isinstance(half, StatisticsClient):
            return self._with_statistics(name, half)
        training = self.clients.training
        first = partial(self._first_model, name)
        how = mixture.MixingPlan(training.mix, self.rounds, self._alone, first, training.seed)
        found = mixture.train_mixture(how, half, self.broadcast)
        return {**found.as_summary(self.broadcast), HITS: _hits(found, self.broadcast)}

    @cached_property
    def _alone(self) -> Algorithm[Any, Any, Any]:
        """The algorithm of who trains alone, built once for all clients of a process."""
        return mixture.local_algorithm(self.clients.training.algorithm, **self.clients.options)

    def _first_model(self, name: str) -> SplitModel:
        return self.clients.build_model(self.clients.models[name])

    def _with_statistics(self, name: str, half: StatisticsClient) -> dict[str, Any]:
        """Return what a client with class statistics ends with, and trains for that if asked."""
        if not half.config.network:
            return half.mixing_metrics(self.broadcast)
        training = self.clients.training
        how = expert.Plan(
            first=partial(self._first_model, name),
            width=training.width,
            batch_size=training.batch_size,
            shuffle=training.shuffle,
            compute=training.compute,
        )
        return expert.trained(how, half, self.broadcast).as_summary(self.broadcast)


def _hits(found: mixture.MixedModel, broadcast: Any) -> str:
    """Return which test samples a mixture has right; see `HITS`."""
    tests = found.together.test_samples()
    right_N = experts.hits(found.scores(tests.inputs, broadcast), tests.labels)
    return np.packbits(right_N).tobytes().hex()


def mixing_summary(
    factory: ClientFactory, cohort: SimulatedCohort, broadcast: Any, rounds: int
) -> dict[str, Any]:
    """Return the summary's `mix`; nothing where nothing is to be mixed.

    Args:
        factory: that made the run's clients.
        cohort: the clients, after their last evaluation; what they are does not change.
        broadcast: the last one.
        rounds: of training, that the run had.
    """
    algorithm = factory.training.algorithm
    weighs = algorithms.info(algorithm).base  # whose clients mix whatever is asked
    how = "auto" if weighs else factory.training.mix
    if how == "never":
        return {}
    if not weighs and not mixture.can_mix(algorithm):
        log.info("nothing to mix: clients train alone")
        return {}
    if weighs and factory.training.mix == "half":
        text = "%s has a mixture of its own, by a weight that each client chooses, not of halves"
        log.warning(text, algorithm)
    if not weighs:
        log.info("mixing every client's network with one trained alone")
    clients = cohort.map_clients(ClientMixing(factory, broadcast, rounds))
    return {"mix": experts.summarize(how, clients)}
