"""A client of a run: its model, its data, and its answer to a broadcast.

Shape suffixes: N samples.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeloop.algorithm import Algorithm, Batches, Recipe
from edgeloop.answers import Answer as Answer
from edgeloop.answers import Release as Release
from edgeloop.answers import Report as Report
from edgeloop.client_model import ClientModel
from edgeloop.client_model import same as same
from edgeloop.data import ClientData, Samples
from edgeloop.errors import ConfigError
from edgeloop.models.split import SplitModel
from edgeloop.privacy import accounting, dp_sgd
from edgeloop.privacy.secret import NoiseSecret, digest
from edgeloop.protocol import wire
from edgeloop.protocol.wire import NotFiniteError, WireError
from edgeloop.seeds import derive
from edgeloop.training import losses
from edgeloop.training.compute import Compute
from edgeloop.training.descent import DescentPlan
from edgeloop.training.evaluation import Evaluation
from edgeloop.training.threads import Threads, choose

U = TypeVar("U")
B = TypeVar("B")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluatedRound:
    """A round that a client has evaluated, and not yet trained in.

    Attributes:
        batches: what it may train on.
        evaluation: the evaluation.
        seconds: wall time of that.
    """

    batches: Batches
    evaluation: Evaluation
    seconds: float


class Client(ClientModel[U, B]):
    """One client: keeps its model between rounds.

    Args:
        name: the client's name in the run.
        algorithm: the run's algorithm.
        model: its own; trained in place.
        data: its own.
        batch_size: samples a training batch.
        seed: the run's seed.
        shuffle: train on its samples in a new order in each epoch; a private client draws the
            samples of each step anyway.
        compute: where and how.
        secret: trains with differential privacy, and has its noise from there.
        descents: how it descends in a round; None for plain SGD in all of them.

    Attributes:
        training_loss: the mean of what it descended in its last round, over all steps; None where
            it took none, or took them with privacy.

    Raises:
        ConfigError: if there is no such device here, or the algorithm cannot be private.
        ModelError: if the model cannot be private.
    """

    def __init__(  # noqa: PLR0913 - keywords but four: all that a client is
        self,
        name: str,
        algorithm: Algorithm[Any, U, B],
        model: SplitModel,
        data: ClientData,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = False,
        compute: Compute = Compute(),  # noqa: B008 - it is frozen
        secret: NoiseSecret | None = None,
        descents: DescentPlan | None = None,
    ) -> None:
        super().__init__(name, algorithm, model, data, compute)
        self.batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._secret = secret
        self._descents = descents
        self.training_loss: float | None = None
        if secret is not None:
            dp_sgd.check_model(model, name)
            self._recipe()
            self._train_digest = digest(vars(data.train))

    def _recipe(self) -> Recipe[U, B]:
        return dp_sgd.private_recipe(self._algorithm)

    def answer(self, round_number: int, broadcast: B, trains: bool = True) -> Answer[U]:
        """Evaluate with the broadcast, then train one round, unless it sits this one out."""
        with self.on_device():
            release = self.release(round_number, broadcast) if trains else None
            evaluated = self.evaluate_round(round_number, broadcast)
            if not trains:
                return self.make_answer(evaluated)
            begun = time.perf_counter()
            upload = self._train_round(evaluated.batches, broadcast, release)
            return self.make_answer(evaluated, upload, time.perf_counter() - begun)

    def release(self, when: str | int, broadcast: B) -> Release | None:
        """Return what training now would let out; None without privacy.

        Args:
            when: the round's number.
            broadcast: of the round; not taken over yet.
        """
        if self._secret is None:
            return None
        samples, recipe = len(self._train[1]), self._recipe()
        facts = self.name, when, wire.fingerprint(broadcast), digest(self.weights())
        cost = accounting.round_cost(
            self._secret.privacy,
            samples=samples,
            batch_size=self.batch_size,
            epochs=recipe.epochs,
            prototypes=recipe.collect is not None,
        )
        return Release(self._secret.derive_key(*facts, self._train_digest), cost)

    def _train_round(self, batches: Batches, broadcast: B, release: Release | None) -> U:
        with self._dropout_seed(batches.seed, "train"):
            if self._secret is None or release is None:
                with losses.metered() as meter:
                    upload = self._algorithm.train(self.model, batches, broadcast)
                self.training_loss = meter.mean
                self._check_descent(batches)
                return upload
            return dp_sgd.train_private(
                recipe=self._recipe(),
                model=self.model,
                batches=batches,
                broadcast=broadcast,
                asked=self._secret.privacy,
                key=release.key,
            )

    def _check_descent(self, batches: Batches) -> None:
        """See that the algorithm has descended as asked.

        Raises:
            ConfigError: if its steps are its own.
        """
        how = batches.descent
        if how is None or how.taken or not len(batches):
            return
        if how.optimizer is not None or how.factor != 1:
            problem = "the algorithm's clients take steps of their own, which nothing replaces"
            raise ConfigError("optimizer", problem, "leave out optimizer and schedule")

    def evaluate_round(self, round_number: int, broadcast: B) -> EvaluatedRound:
        """Take over a round's broadcast, and evaluate with it."""
        begun = time.perf_counter()
        self.training_loss = None
        batches = self._batches("round", round_number)
        found = self._load_and_evaluate(batches, broadcast)
        return EvaluatedRound(batches, found, time.perf_counter() - begun)

    def make_answer(
        self, evaluated: EvaluatedRound, upload: U | None = None, seconds: float = 0.0
    ) -> Answer[U]:
        """Return the answer to a round, with what came of a training that took so long.

        A model that has diverged sends nothing: one NaN would be everybody's, and no server takes
        it (`wire.check`).
        """
        if upload is not None:
            upload = self._checked_upload(upload)
        return Answer(upload, self._report(evaluated.evaluation, evaluated.seconds, seconds))

    def _checked_upload(self, upload: U) -> U | None:
        try:
            wire.check(upload)
        except WireError as error:
            what = "NaN or infinity" if isinstance(error, NotFiniteError) else "what cannot be"
            text = "%s: its upload has %s in it, and is not sent (%s)"
            log.warning(text, self.name, what, error)
            return None
        return upload

    def finish(self, broadcast: B) -> Report:
        """Evaluate with the last broadcast; train no more."""
        begun = time.perf_counter()
        with self.on_device():
            found = self._load_and_evaluate(self._batches("last"), broadcast)
        return self._report(found, time.perf_counter() - begun, 0.0)

    def join(self, broadcast: B) -> tuple[Report, Report]:
        """Evaluate with the last broadcast, train once, and evaluate again as it is then."""
        before = self.finish(broadcast)
        begun = time.perf_counter()
        with self.on_device():
            release = self.release("joined", broadcast)
            self._train_round(self._batches("joined"), broadcast, release)
        trained = time.perf_counter()
        with self.on_device():
            found = self._evaluate_model(broadcast)
        evaluating = time.perf_counter() - trained
        return before, self._report(found, evaluating, trained - begun)

    def train_against(self, rounds: int, broadcast: B) -> Iterator[int]:
        """Train so many rounds as if this broadcast opened each, and take it over at the end.

        No test sample is looked at. Where taking the broadcast over leaves a model as it was in the
        round before, as of whoever takes over whole models, more rounds would change nothing.

        Yields:
            how many rounds are done.
        """
        before: Mapping[str, npt.NDArray[Any]] | None = None
        for number in range(rounds):
            with self.on_device():
                batches = self._batches("round", number)
                self._load_broadcast(batches, broadcast)
                now = self.weights()
                if before is not None and not self.model.draws and same(before, now):
                    return
                release = self.release(number, broadcast)
                self._train_round(batches, broadcast, release)
            before = now
            yield number + 1
        with self.on_device():
            self._load_broadcast(self._batches("last"), broadcast)

    def copy_with(
        self,
        model: SplitModel,
        algorithm: Algorithm[Any, Any, Any] | None = None,
        selected_N: npt.NDArray[np.bool_] | None = None,
        batch_size: int | None = None,
    ) -> "Client[Any, Any]":
        """Return a client as this one, with another model, and some of its training samples.

        Args:
            model: trained in place.
            algorithm: another one, which learns without privacy; None for this one's own.
            selected_N: which training samples; None for all.
            batch_size: another one; None for this one's own.
        """
        train = self.training_samples()
        selected = (
            train
            if selected_N is None
            else Samples(train.inputs[selected_N], train.labels[selected_N])
        )
        return Client(
            self.name,
            algorithm or self._algorithm,
            model,
            ClientData(selected, Samples(selected.inputs[:0], selected.labels[:0])),
            batch_size=batch_size or self.batch_size,
            seed=self._seed,
            shuffle=self._shuffle,
            compute=self._compute,
            secret=None if algorithm is not None else self._secret,
            descents=self._descents,
        )

    def _batches(self, *when: str | int) -> Batches:
        seed = derive(self._seed, "client", self.name, *when)
        number = when[-1] if isinstance(when[-1], int) else 0
        descent = None if self._descents is None else self._descents.at(number)
        return Batches(*self._train, self.batch_size, seed, self._shuffle, descent)

    def choose_threads(self, threads: Threads) -> int:
        """Set this process's threads: a number, or "auto" for a measurement with this model."""
        return choose(threads, self.model, Batches(*self._train, self.batch_size))
