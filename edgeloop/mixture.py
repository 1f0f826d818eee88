"""Trains what a client's network is mixed with, and chooses the weight; see `mixing.experts`.

It changes nothing in a client: all that is trained here are other models on the client's data.

Shape suffixes: N samples, C classes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop import algorithms
from edgeloop.algorithm import Algorithm
from edgeloop.algorithms.local import Nothing
from edgeloop.client import Client, same
from edgeloop.data import Samples
from edgeloop.mixing import experts
from edgeloop.mixing.experts import Mix, MixingWeights
from edgeloop.models.split import SplitModel
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 30.0
"""At least between two lines of the log on how far a training has come."""
TRAINING = ("local_epochs", "local_lr")
"""Hyperparameters of a client's own training, which the one trained alone has from the run."""
EVERYTHING = "too few samples to train alone"
NOTHING = "the run's model knows nothing, or has diverged"
UNSTEADY = "a model that was trained as the run's has diverged"
DIVERGED = "the model trained alone has diverged"
ASKED = "asked for"
FEW = "too few samples to choose a weight"
UNJUDGED = "too few samples, which the others' model has learned from"
ROOM = 2**26
"""Bytes of weights that a committee may have in all; of more there is none."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class MixingPlan:
    """How a run's clients mix.

    Attributes:
        how: half and half, or by a weight that each chooses.
        rounds: of training, that the run had.
        local: the algorithm of who trains alone.
        first: makes a model of a client's architecture, with its first weights.
        seed: of the samples held out.
    """

    how: Mix
    rounds: int
    local: Algorithm[Any, Any, Any]
    first: Callable[[], SplitModel]
    seed: int


@dataclass(frozen=True)
class MixedModel:
    """What a client ends with.

    Attributes:
        together: the client of the run.
        alone: the client trained alone; None where there is none.
        weights: how they are mixed.
        held_out: the samples held out, which may be none.
        committee: networks in place of the run's, or one where all would be the same: of a client
            with few samples trained as the run did without a fold each; of others the run's, and
            one trained as it was without the samples held out; none where none is in use.
    """

    together: Client[Any, Any]
    alone: Client[Any, Any] | None
    weights: MixingWeights
    held_out: Samples
    committee: tuple[Client[Any, Any], ...] = ()

    def as_summary(self, broadcast: Any) -> dict[str, Any]:
        """Return the choice, and what the experts and their mixture are worth on test samples."""
        tests = self.together.test_samples()
        all_NC = self.together.scores(tests.inputs, broadcast)
        own_NC = all_NC if self.alone is None else self.alone.scores(tests.inputs, Nothing())
        mixed_NC = self.weights.scores(own_NC, self._pooled(tests.inputs, broadcast, all_NC))
        return {
            **self.weights.as_summary(),
            **experts.mixture_metrics(own_NC, all_NC, mixed_NC, tests.labels),
            **({} if self.alone is not None else {"alone": None}),
        }

    def scores(self, inputs_N: NDArray[np.float32], broadcast: Any) -> Scores:
        """Return the mixture's scores (N, C) of inputs (N, ...)."""
        all_NC = self._pooled(inputs_N, broadcast, None)
        own_NC = all_NC if self.alone is None else self.alone.scores(inputs_N, Nothing())
        return self.weights.scores(own_NC, all_NC)

    def _pooled(
        self, inputs_N: NDArray[np.float32], broadcast: Any, all_NC: Scores | None
    ) -> Scores:
        """Return the scores (N, C) of the expert together; the run's model's may be known."""
        if self.committee:
            parts = [each.scores(inputs_N, broadcast) for each in self.committee]
            lone = len(parts) == 1
            return parts[0] if lone else experts.pooled(parts, self.weights.temperature_together)
        return self.together.scores(inputs_N, broadcast) if all_NC is None else all_NC


def local_algorithm(name: str, **options: Any) -> Algorithm[Any, Any, Any]:
    """Return the algorithm of who trains alone, with a run's epochs and learning rate.

    Args:
        name: of the run's algorithm.
        options: fields of its Config.
    """
    config = algorithms.config(name, **options)
    own = {key: getattr(config, key) for key in TRAINING if hasattr(config, key)}
    facts = {key: getattr(config, key) for key in ("classes", "width", "seed")}
    return algorithms.load("local", **facts, **own)


def can_mix(name: str) -> bool:
    """Return whether an algorithm's clients end with a network that can be mixed with one alone."""
    info = algorithms.info(name)
    return not info.base and info.up != "nothing"


def train_mixture(plan: MixingPlan, client: Client[Any, Any], broadcast: Any) -> MixedModel:
    """Train what a client's network is mixed with, and choose the weight.

    Args:
        plan: of the run.
        client: the client, which has taken the last broadcast over.
        broadcast: the last one.
    """
    train, seed = client.training_samples(), experts.held_out_seed(plan.seed, client.name)
    out = experts.held_out_samples(train, plan.seed, client.name)
    if len(train) < client.batch_size:
        return MixedModel(client, None, MixingWeights(1.0, why=EVERYTHING), out)
    if not experts.are_usable(client.scores(train.inputs, broadcast)):
        return MixedModel(client, _alone(plan, client), MixingWeights(0.0, why=NOTHING), out)
    if len(out) >= experts.MIN_SAMPLES and len(train) - len(out) >= client.batch_size:
        alone, committee, choice = _of_enough(plan, client, broadcast, seed)
    else:
        alone = _alone(plan, client)
        committee, choice = _of_few(plan, client, broadcast, seed)
    if not experts.are_usable(alone.scores(train.inputs, Nothing())):
        choice = MixingWeights(1.0, why=DIVERGED)
    used = choice.weight > 0 and choice.why != DIVERGED
    return MixedModel(client, alone, choice, out, committee if used else ())


def _alone(plan: MixingPlan, client: Client[Any, Any]) -> Client[Any, Any]:
    """Train alone on all samples, just as the algorithm `local_algorithm` would."""
    alone = client.copy_with(plan.first(), plan.local)
    log.info("%s: training a network on its own samples only, %d rounds", client.name, plan.rounds)
    _train_rounds(alone, plan, Nothing(), "alone")
    return alone


def _compared(
    plan: MixingPlan,
    client: Client[Any, Any],
    broadcast: Any,
    out_N: NDArray[np.bool_],
    batch_size: int | None = None,
) -> tuple[Client[Any, Any], Client[Any, Any], Scores, Scores]:
    """Train alone, and again as the run did, without some samples; return both, and scores."""
    alone = client.copy_with(plan.first(), plan.local, ~out_N, batch_size)
    again = client.copy_with(plan.first(), None, ~out_N, batch_size)
    _train_rounds(alone, plan, Nothing(), "alone")
    _train_rounds(again, plan, broadcast, "as the run did")
    inputs = client.training_samples().inputs[out_N]
    return alone, again, alone.scores(inputs, Nothing()), again.scores(inputs, broadcast)


def _choose_weights(
    plan: MixingPlan, own_NC: Scores, all_NC: Scores, labels_N: NDArray[np.int64]
) -> MixingWeights:
    """Return the choice by samples held out."""
    if not experts.are_usable(own_NC):
        return MixingWeights(1.0, why=DIVERGED, held_out=len(labels_N))
    if not experts.are_usable(all_NC):
        return MixingWeights(0.0, why=NOTHING, held_out=len(labels_N))
    if plan.how == "half":
        return experts.equal_weights(own_NC, all_NC, labels_N, ASKED, gated=False)
    return experts.choose_weights(own_NC, all_NC, labels_N)


def _of_enough(
    plan: MixingPlan, client: Client[Any, Any], broadcast: Any, seed: int
) -> tuple[Client[Any, Any], tuple[Client[Any, Any], ...], MixingWeights]:
    """Choose by samples held out; return alone, who trained as the run did, and the choice.

    Together are the run's model and the one that was judged, trained as the run did without these
    samples: what either is worth after its last round is partly luck. Alone steadily gains by more
    samples, so it is trained again on all of them, where it has any weight.
    """
    labels_N = client.training_samples().labels
    out_N = experts.held_out(labels_N, seed)
    text = "%s: training alone and as the run did, %d rounds each, without %d samples held out"
    log.info(text, client.name, plan.rounds, out_N.sum())
    alone, again, own_NC, all_NC = _compared(plan, client, broadcast, out_N)
    choice = _choose_weights(plan, own_NC, all_NC, labels_N[out_N])
    alone = _alone(plan, client) if choice.weight < 1 else alone
    return alone, _room((client, again)), choice


def _of_few(
    plan: MixingPlan, client: Client[Any, Any], broadcast: Any, seed: int
) -> tuple[tuple[Client[Any, Any], ...], MixingWeights]:
    """Train both in five folds; return those that trained as the run did, and half and half.

    What a single network of few samples is worth is partly luck, and nothing tells of which: so
    those that have scored samples unseen are put into use, as a committee. Without a fold's samples
    batches are as many as with them, and smaller: of few samples, few batches are trained on, and
    one less would be another training.

    Where a network that is trained as the run did diverges, nobody believes the others either. Nor
    where all would be the same, as where whole models are averaged, and samples are fewer than any
    choice is made by: all of them are in the model already, so that its temperature flatters it.
    """
    train, asked = client.training_samples(), plan.how == "half"
    own_NC = np.zeros_like(client.scores(train.inputs, broadcast))
    all_NC, committee, steady = own_NC.copy(), [], True
    batches = len(train) // client.batch_size
    folds_N = experts.folds(train.labels, seed)
    log.info("%s: training both again without a fifth of its samples, five times", client.name)
    for fold in range(min(experts.FOLDS, len(train)) if len(train) > 1 else 0):
        out_N = folds_N == fold
        size = int((~out_N).sum()) // batches
        found = _compared(plan, client, broadcast, out_N, max(size, 1))
        _, again, own_NC[out_N], all_NC[out_N] = found
        steady = steady and experts.are_usable(again.scores(train.inputs, broadcast))
        committee.append(again)
    if not (steady and experts.are_usable(all_NC)) and not asked:
        return (), MixingWeights(0.0, why=UNSTEADY)
    kept = _room(committee)
    if len(kept) == 1 and len(train) < experts.MIN_SAMPLES and not asked:
        return (), MixingWeights(0.0, why=UNJUDGED, held_out=len(train))
    if not (committee and steady and experts.are_usable(own_NC)):
        return (), MixingWeights(0.5, why=ASKED if asked else FEW)
    choice = experts.equal_weights(
        own_NC, all_NC, train.labels, ASKED if asked else FEW, gated=not asked
    )
    return kept, choice


def _room(committee: Sequence[Client[Any, Any]]) -> tuple[Client[Any, Any], ...]:
    """Return a committee, or one network where all are the same; none without room or networks."""
    first = committee[0].weights() if committee else {}
    if committee and all(same(first, each.weights()) for each in committee[1:]):
        return tuple(committee[:1])
    return tuple(committee) if sum(map(_bytes, committee)) <= ROOM else ()


def _bytes(client: Client[Any, Any]) -> int:
    return sum(array.nbytes for array in client.weights().values())


def _train_rounds(client: Client[Any, Any], plan: MixingPlan, broadcast: Any, how: str) -> None:
    """Train over all rounds; where that is long, say how far it is."""
    word = Timer(PROGRESS_SECONDS)
    for done in client.train_against(plan.rounds, broadcast):
        if word.due():
            log.info("%s: training %s: %d of %d rounds", client.name, how, done, plan.rounds)
