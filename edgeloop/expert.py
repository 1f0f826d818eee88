"""A client's own network beside its class statistics: trained alone, and mixed with both.

Class statistics read a frozen base, and a network learns from pixels, so that the two err at other
samples. It is what the algorithm `local` trains on the client's samples, of the same architecture,
first weights, epochs and learning rate. Nothing of it travels, and no round waits for it. Ours.

Shape suffixes: N samples, C classes.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop import algorithms
from edgeloop.algorithm import Algorithm
from edgeloop.algorithms.local import Nothing
from edgeloop.client import Client
from edgeloop.data import ClientData
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.gaussian.knowledge import GlobalStatistics
from edgeloop.gaussian.options import Config
from edgeloop.mixing import experts, weighing
from edgeloop.models.split import SplitModel
from edgeloop.runtime.pace import Timer
from edgeloop.training.compute import Compute

log = logging.getLogger(__name__)

TOLD_SECONDS = 30.0
"""At least between two lines of the log on how far the training has come."""
TOO_FEW = "fewer training samples than a batch"
DIVERGED = "it has diverged"
HELPS = "with it the mixture has more hits"
USELESS = "with it the mixture has no more hits"

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """How a run's clients train networks of their own.

    Attributes:
        first: makes a model of the client's architecture, with its first weights.
        width: K, of its features.
        batch_size: samples a training batch.
        shuffle: train on samples in a new order in each epoch.
        compute: where and how.
    """

    first: Callable[[], SplitModel]
    width: int
    batch_size: int
    shuffle: bool = False
    compute: Compute = Compute()  # noqa: RUF009 - it is frozen


@dataclass(frozen=True)
class Threefold:
    """What a client with class statistics ends with, where it may have a network of its own.

    Attributes:
        client: the client.
        network: trained alone; None where there is none.
        temperature: what its scores are divided by.
        joins: whether it is part of the mixture.
        why: it joins or not, or there is none, in a few words.
    """

    client: StatisticsClient
    network: Client[Any, Any] | None
    temperature: float = 1.0
    joins: bool = False
    why: str = ""

    def scores(self, inputs_N: NDArray[np.float32], broadcast: GlobalStatistics) -> Scores:
        """Return log posteriors (N, C) of inputs (N, ...), as all its experts see them."""
        mixed_NC = self.client.scores(inputs_N, broadcast)
        if self.network is None or not self.joins:
            return mixed_NC
        return weighing.joined(mixed_NC, _posteriors(self.network, inputs_N, self.temperature))

    def as_summary(self, broadcast: GlobalStatistics) -> dict[str, Any]:
        """Return what `StatisticsClient.mixing_metrics` does, of all experts and of the network.

        Its `network` says whether it `joins`, and `why`; its accuracy `alone`, and the mixture's
        `without` it; the test samples that the whole has right and it has not, `gained`, and the
        other way, `lost`.
        """
        without, data = self.client.mixing_metrics(broadcast), self.client.data
        own = {"joins": self.joins, "why": self.why, "without": without["mixed"]}
        if self.network is None or data is None:
            return {**without, "network": {**own, "alone": None}}
        tests = data.test
        network_NC = _posteriors(self.network, tests.inputs, self.temperature)
        scores_NC = self.scores(tests.inputs, broadcast)
        right = experts.mixture_metrics(network_NC, network_NC, scores_NC, tests.labels)
        found = self.client.mixing_metrics(broadcast, network_NC) if self.joins else without
        more = {key: right[key] for key in ("alone", "gained", "lost")}
        return {**found, "network": {**own, **more, "temperature": self.temperature}}


def trained(plan: Plan, client: StatisticsClient, broadcast: GlobalStatistics) -> Threefold:
    """Train a client's network, if it has samples for one, and see whether it helps.

    A fifth of the samples is held out. They tell the temperature, and whether the mixture has more
    of them right with the network than without; where they would be too few, the network learns
    from all samples, and five more tell that in cross-validation.

    Args:
        plan: of the run.
        client: of a run whose options ask for networks.
        broadcast: the last one.

    Raises:
        ModelError: if the architecture does not fit the data.
    """
    data = client.data
    if data is None or len(data.train) < plan.batch_size:
        return _none(client, TOO_FEW)
    log.info("%s: training a network alone, %d rounds", client.name, client.config.network_rounds)
    network, scores_NC, out_N = _calibrated(plan, client, data)
    usable = experts.are_usable(network.scores(data.train.inputs, Nothing()))
    if not (usable and experts.are_usable(scores_NC)):
        return _none(client, DIVERGED)
    labels_N = data.train.labels[out_N]
    temperature = experts.temperature(scores_NC, labels_N)
    network_NC = experts.log_posteriors(scores_NC, temperature)
    joins = weighing.joins(client.unseen(broadcast)[out_N], network_NC, labels_N)
    why = f"{HELPS if joins else USELESS}, of {len(labels_N)} samples"
    log.info("%s: its network %s: %s", client.name, "joins" if joins else "stays out", why)
    return Threefold(client, network, temperature, joins, why)


def _none(client: StatisticsClient, why: str) -> Threefold:
    log.warning("%s takes part without a network of its own: %s", client.name, why)
    return Threefold(client, None, why=why)


def _posteriors(
    network: Client[Any, Any], inputs_N: NDArray[np.float32], temperature: float
) -> Scores:
    return experts.log_posteriors(network.scores(inputs_N, Nothing()), temperature)


def _calibrated(
    plan: Plan, client: StatisticsClient, data: ClientData
) -> tuple[Client[Any, Any], Scores, NDArray[np.bool_]]:
    """Train; return the network, and the scores of which samples that it has not seen."""
    config, train = client.config, data.train
    network = _member(plan, client, data)
    out_N = experts.held_out(train.labels, experts.held_out_seed(config.seed, client.name))
    if out_N.sum() >= experts.MIN_SAMPLES and (~out_N).sum() >= plan.batch_size:
        network = network.copy_with(plan.first(), None, ~out_N)
        _follow(network, config.network_rounds)
        return network, network.scores(train.inputs[out_N], Nothing()), out_N
    _follow(network, config.network_rounds)
    return network, _without(plan, network, config), np.ones(len(train), bool)


def _member(plan: Plan, client: StatisticsClient, data: ClientData) -> Client[Any, Any]:
    return Client(
        client.name,
        local(client.config, plan.width),
        plan.first(),
        data,
        batch_size=plan.batch_size,
        seed=client.config.seed,
        shuffle=plan.shuffle,
        compute=plan.compute,
    )


def _without(plan: Plan, network: Client[Any, Any], config: Config) -> Scores:
    """Return scores (N, C) of a client's samples by networks that have not seen them.

    Batches are as many as with all samples, and smaller, as in `edgeloop.mixture`.
    """
    train = network.training_samples()
    found_NC = np.zeros((len(train), config.classes))
    folds_N = experts.folds(train.labels, experts.held_out_seed(config.seed, network.name))
    batches = len(train) // network.batch_size
    for fold in range(min(experts.FOLDS, len(train)) if len(train) > 1 else 0):
        out_N = folds_N == fold
        size = max(int((~out_N).sum()) // batches, 1)
        other = network.copy_with(plan.first(), None, ~out_N, size)
        _follow(other, config.network_rounds)
        found_NC[out_N] = other.scores(train.inputs[out_N], Nothing())
    return found_NC


def local(config: Config, width: int) -> Algorithm[Any, Any, Any]:
    """Return the algorithm of who trains alone, as a run with class statistics asks for it.

    Args:
        config: of the run.
        width: K, of a network's features.
    """
    return algorithms.load(
        "local",
        classes=config.classes,
        width=width,
        seed=config.seed,
        local_epochs=config.local_epochs,
        local_lr=config.local_lr,
    )


def _follow(network: Client[Any, Any], rounds: int) -> None:
    """Train over all rounds; where that is long, say how far it is."""
    word = Timer(TOLD_SECONDS)
    for done in network.train_against(rounds, Nothing()):
        if word.due():
            log.info("%s: training a network: %d of %d rounds", network.name, done, rounds)
