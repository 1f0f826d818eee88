"""Trains what a client's network is mixed with, and chooses the weight; see `edgeloop.mixing`.

It changes nothing in a client: all that is trained here are other models on the client's data.

Shape suffixes: N samples, C classes.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeloop import algorithms, mixing
from edgeloop.algorithm import Algorithm
from edgeloop.algorithms.local import Nothing
from edgeloop.data import Samples
from edgeloop.member import Member, same
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
UNSTEADY = "a model that was trained as the run's has diverged"
DIVERGED = "the model trained alone has diverged"
ASKED = "asked for"
FEW = "too few samples to choose by"
ROOM = 2**26
"""Bytes of weights that the two committees of a client may have in all; with more there is none."""

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
class Committees:
    """Two experts of a client with few samples, of several networks each, trained in five folds.

    Attributes:
        alone: trained alone.
        together: trained as the run did; one network where all would be the same.
    """

    alone: tuple[Member[Any, Any], ...]
    together: tuple[Member[Any, Any], ...]


@dataclass(frozen=True)
class Mixture:
    """What a client ends with.

    Attributes:
        together: the client of the run.
        alone: the client trained alone; None where there is none.
        choice: how they are mixed.
        held_out: the samples held out, which may be none.
        committees: the experts in place of those two; None where each is one network.
    """

    together: Member[Any, Any]
    alone: Member[Any, Any] | None
    choice: Choice
    held_out: Samples
    committees: Committees | None = None

    def told(self, broadcast: Any) -> dict[str, Any]:
        """Return the choice, and what the experts and their mixture are worth on test samples."""
        tests = self.together.tests()
        all_NC = self.together.scores(tests.inputs, broadcast)
        own_NC, mixed_NC = self._mixed(tests.inputs, all_NC, broadcast)
        trained = self.alone is not None or self.committees is not None
        return {
            **self.choice.told(),
            **mixing.measured(own_NC, all_NC, mixed_NC, tests.labels),
            **({} if trained else {"alone": None}),
        }

    def scores(self, inputs_N: NDArray[np.float32], broadcast: Any) -> Scores:
        """Return the mixture's scores (N, C) of inputs (N, ...)."""
        return self._mixed(inputs_N, self.together.scores(inputs_N, broadcast), broadcast)[1]

    def _mixed(
        self, inputs_N: NDArray[np.float32], all_NC: Scores, broadcast: Any
    ) -> tuple[Scores, Scores]:
        """Return the scores of the expert alone, and the mixture's; the run's model's are given."""
        both = self.committees
        if both is None:
            own_NC = all_NC if self.alone is None else self.alone.scores(inputs_N, Nothing())
            return own_NC, self.choice.scores(own_NC, all_NC)
        alone = [each.scores(inputs_N, Nothing()) for each in both.alone]
        together = [each.scores(inputs_N, broadcast) for each in both.together]
        own_NC = mixing.pooled(alone, self.choice.temperature_alone)
        if self.choice.weight == 0:
            return own_NC, own_NC
        pooled_NC = mixing.pooled(together, self.choice.temperature_together)
        return own_NC, self.choice.scores(own_NC, pooled_NC)


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
        found = _of_few(plan, member, broadcast, seed)
        if found is not None and found[0] is not None and plan.how == "auto":
            return Mixture(member, None, found[1], out, found[0])
        alone = _alone(plan, member)
        choice = (
            Choice(0.5, why=ASKED if plan.how == "half" else FEW) if found is None else found[1]
        )
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
    alone, again = _both(plan, member, broadcast, out_N, batch_size)
    inputs = member.training().inputs[out_N]
    return alone, alone.scores(inputs, Nothing()), again.scores(inputs, broadcast)


def _both(
    plan: Plan,
    member: Member[Any, Any],
    broadcast: Any,
    out_N: NDArray[np.bool_],
    batch_size: int | None = None,
) -> tuple[Member[Any, Any], Member[Any, Any]]:
    """Train alone, and again as the run did, without some samples."""
    alone = member.another(plan.first(), plan.local, ~out_N, batch_size)
    again = member.another(plan.first(), None, ~out_N, batch_size)
    _follow(alone, plan, Nothing(), "alone")
    _follow(again, plan, broadcast, "as the run did")
    return alone, again


def _choice(plan: Plan, own_NC: Scores, all_NC: Scores, labels_N: NDArray[np.int64]) -> Choice:
    """Return the choice by samples held out."""
    if not mixing.usable(own_NC):
        return Choice(1.0, why=DIVERGED, held_out=len(labels_N))
    if not mixing.usable(all_NC):
        return Choice(0.0, why=NOTHING, held_out=len(labels_N))
    if plan.how == "half":
        return mixing.halved(own_NC, all_NC, labels_N, ASKED, gated=False)
    return mixing.choose(own_NC, all_NC, labels_N)


def _of_few(
    plan: Plan, member: Member[Any, Any], broadcast: Any, seed: int
) -> tuple[Committees | None, Choice] | None:
    """Train both experts in five folds; return their committees, and half and half of them.

    What a single network of few samples is worth is partly luck, and nothing tells of which: so
    those are put into use that have scored samples unseen. Without a fold's samples batches are as
    many as with them, and smaller: of few samples, few batches are trained on, and one less would
    be another training.

    Where a network that is trained as the run did diverges, nobody believes the others either.

    Returns:
        None if one that is trained alone has diverged; and no committees where they have no room.
    """
    train = member.training()
    own_NC = member.scores(train.inputs, broadcast)
    all_NC, pairs, steady, asked = own_NC.copy(), [], True, plan.how == "half"
    batches = len(train) // member.batch_size
    folds_N = mixing.folds(train.labels, seed)
    log.info("%s: trains alone and as the run did without a fifth of its samples, five times",
             member.name)  # fmt: skip
    for fold in range(min(mixing.FOLDS, len(train)) if len(train) > 1 else 0):
        out_N = folds_N == fold
        size = int((~out_N).sum()) // batches
        alone, again = _both(plan, member, broadcast, out_N, max(size, 1))
        own, all_ = alone.scores(train.inputs, Nothing()), again.scores(train.inputs, broadcast)
        if not mixing.usable(own):
            return None
        steady = steady and mixing.usable(all_)
        own_NC[out_N], all_NC[out_N] = own[out_N], all_[out_N]
        pairs.append((alone, again))
    if not pairs:
        return None
    if not steady:
        return _committees(pairs), Choice(0.5 if asked else 0.0, why=ASKED if asked else UNSTEADY)
    choice = mixing.halved(own_NC, all_NC, train.labels, ASKED if asked else FEW, gated=not asked)
    return _committees(pairs), choice


def _committees(pairs: Sequence[tuple[Member[Any, Any], Member[Any, Any]]]) -> Committees | None:
    """Return the folds' networks as two experts, if there is room for them."""
    alone, together = zip(*pairs, strict=True)
    first = together[0].weights()
    if all(same(first, each.weights()) for each in together[1:]):
        together = together[:1]
    if sum(_bytes(each) for each in (*alone, *together)) > ROOM:
        return None
    return Committees(alone, together)


def _bytes(member: Member[Any, Any]) -> int:
    return sum(array.nbytes for array in member.weights().values())


def _follow(member: Member[Any, Any], plan: Plan, broadcast: Any, how: str) -> None:
    """Train over all rounds; where that is long, say how far it is."""
    word = Pace(TOLD_SECONDS)
    for done in member.rehearse(plan.rounds, broadcast):
        if word.due():
            log.info("%s: trains %s: %d of %d rounds", member.name, how, done, plan.rounds)
