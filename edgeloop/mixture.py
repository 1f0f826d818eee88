"""Trains what a client's network is mixed with, and chooses the weight; see `edgeloop.mixing`.

It changes nothing in a client: all that is trained here are other models on the client's data.

Shape suffixes: N samples, C classes.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop import algorithms, mixing
from edgeloop.algorithm import Algorithm
from edgeloop.algorithms.local import Nothing
from edgeloop.data import Samples
from edgeloop.member import Member
from edgeloop.mixing import Choice, Mix
from edgeloop.models.split import SplitModel
from edgeloop.pace import Pace

log = logging.getLogger(__name__)

TOLD_SECONDS = 30.0
"""At least between two lines of the log on how far a training has come."""
TRAINING = ("local_epochs", "local_lr")
"""Hyperparameters of a client's own training, which the one trained alone has from the run."""
EVERYTHING = "too few samples to train alone"
NOTHING = "the run's model knows nothing, or has diverged"
DIVERGED = "the model trained alone has diverged"
ASKED = "asked for"
FEW = "too few samples to choose by"

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
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
class Mixture:
    """What a client ends with.

    Attributes:
        together: the client of the run.
        alone: the client trained alone; None where there is none.
        choice: how they are mixed.
        held_out: the samples held out, which may be none.
    """

    together: Member[Any, Any]
    alone: Member[Any, Any] | None
    choice: Choice
    held_out: Samples

    def told(self, broadcast: Any) -> dict[str, Any]:
        """Return the choice, and what the experts and their mixture are worth on test samples."""
        tests = self.together.tests()
        all_NC = self._scores(self.together, tests, broadcast)
        own_NC = all_NC if self.alone is None else self._scores(self.alone, tests, Nothing())
        mixed_NC = self.choice.scores(own_NC, all_NC)
        return {
            **self.choice.told(),
            **mixing.measured(own_NC, all_NC, mixed_NC, tests.labels),
            **({} if self.alone is not None else {"alone": None}),
        }

    def _scores(self, member: Member[Any, Any], of: Samples, broadcast: Any) -> NDArray[np.float64]:
        return member.scores(of.inputs, broadcast)


def local(name: str, **options: Any) -> Algorithm[Any, Any, Any]:
    """Return the algorithm of who trains alone, with a run's epochs and learning rate.

    Args:
        name: of the run's algorithm.
        options: fields of its Config.
    """
    config = algorithms.config(name, **options)
    own = {key: getattr(config, key) for key in TRAINING if hasattr(config, key)}
    facts = {key: getattr(config, key) for key in ("classes", "width", "seed")}
    return algorithms.load("local", **facts, **own)


def mixes(name: str) -> bool:
    """Say whether an algorithm's clients end with a network that can be mixed with one alone."""
    card = algorithms.card(name)
    return not card.base and card.up != "nothing"


def made(plan: Plan, member: Member[Any, Any], broadcast: Any) -> Mixture:
    """Train what a client's network is mixed with, and choose the weight.

    Args:
        plan: the run's.
        member: the client, which has taken the last broadcast over.
        broadcast: the last one.
    """
    train, seed = member.training(), mixing.held_seed(plan.seed, member.name)
    out = mixing.part(train, plan.seed, member.name)
    if len(train) < member.batch_size:
        return Mixture(member, None, Choice(1.0, why=EVERYTHING), out)
    if not mixing.usable(member.scores(train.inputs, broadcast)):
        return Mixture(member, _alone(plan, member), Choice(0.0, why=NOTHING), out)
    enough = len(out) >= mixing.ENOUGH and len(train) - len(out) >= member.batch_size
    if not enough:
        alone = _alone(plan, member)
        choice = _calibrated(plan, member, alone, broadcast, seed)
    else:
        text = "%s: trains alone and as the run did, %d rounds each, without %d samples held out"
        log.info(text, member.name, plan.rounds, len(out))
        alone, own_NC, all_NC = _compared(
            plan, member, broadcast, mixing.held_out(train.labels, seed)
        )
        choice = _choice(plan, own_NC, all_NC, out.labels)
        if plan.how == "half":
            alone = _alone(plan, member)
    if not mixing.usable(alone.scores(train.inputs, Nothing())):
        choice = Choice(1.0, why=DIVERGED)
    return Mixture(member, alone, choice, out)


def _alone(plan: Plan, member: Member[Any, Any]) -> Member[Any, Any]:
    """Train alone on all samples, just as the algorithm `local` would."""
    alone = member.another(plan.first(), plan.local)
    log.info("%s: trains alone on all its samples, %d rounds", member.name, plan.rounds)
    _follow(alone, plan, Nothing(), "alone")
    return alone


def _compared(
    plan: Plan,
    member: Member[Any, Any],
    broadcast: Any,
    out_N: NDArray[np.bool_],
    batch_size: int | None = None,
) -> tuple[Member[Any, Any], Scores, Scores]:
    """Train alone, and again as the run did, without some samples; return alone, and the scores."""
    alone = member.another(plan.first(), plan.local, ~out_N, batch_size)
    again = member.another(plan.first(), None, ~out_N, batch_size)
    _follow(alone, plan, Nothing(), "alone")
    _follow(again, plan, broadcast, "as the run did")
    inputs = member.training().inputs[out_N]
    return alone, alone.scores(inputs, Nothing()), again.scores(inputs, broadcast)


def _choice(plan: Plan, own_NC: Scores, all_NC: Scores, labels_N: NDArray[np.int64]) -> Choice:
    """Return the choice by samples held out."""
    if not mixing.usable(own_NC):
        return Choice(1.0, why=DIVERGED, held_out=len(labels_N))
    if not mixing.usable(all_NC):
        return Choice(0.0, why=NOTHING, held_out=len(labels_N))
    if plan.how == "half":
        return mixing.halved(own_NC, all_NC, labels_N, ASKED, gated=False)
    return mixing.choose(own_NC, all_NC, labels_N)


def _calibrated(
    plan: Plan, member: Member[Any, Any], alone: Member[Any, Any], broadcast: Any, seed: int
) -> Choice:
    """Return half and half, with temperatures by cross-validation.

    Without a fold's samples batches are as many as with them, and smaller: of few samples, few
    batches are trained on, and one less would be another training.
    """
    train = member.training()
    why = ASKED if plan.how == "half" else FEW
    own_NC = alone.scores(train.inputs, Nothing())
    all_NC = member.scores(train.inputs, broadcast)
    batches = len(train) // member.batch_size
    folds_N = mixing.folds(train.labels, seed)
    log.info("%s: trains both again without a fifth of its samples, five times", member.name)
    for fold in range(min(mixing.FOLDS, len(train)) if len(train) > 1 else 0):
        out_N = folds_N == fold
        size = int((~out_N).sum()) // batches
        _, own_NC[out_N], all_NC[out_N] = _compared(plan, member, broadcast, out_N, max(size, 1))
    if not (mixing.usable(own_NC) and mixing.usable(all_NC)):
        return Choice(0.5, why=why)
    return mixing.halved(own_NC, all_NC, train.labels, why, gated=plan.how == "auto")


def _follow(member: Member[Any, Any], plan: Plan, broadcast: Any, how: str) -> None:
    """Train over all rounds; where that is long, say how far it is."""
    word = Pace(TOLD_SECONDS)
    for done in member.rehearse(plan.rounds, broadcast):
        if word.due():
            log.info("%s: trains %s: %d of %d rounds", member.name, how, done, plan.rounds)
