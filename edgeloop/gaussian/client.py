"""A client of class statistics, without torch: features, statistics, and its own weight.

Shape suffixes: N samples, C classes, D dimensions.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeloop.answers import Answer, Release, Report
from edgeloop.data import ClientData
from edgeloop.data.samples import Samples
from edgeloop.errors import RunError
from edgeloop.gaussian import classifier, kernel, statistics
from edgeloop.gaussian.checks import Extractor, check_base, check_labels, check_samples
from edgeloop.gaussian.classifier import Linear
from edgeloop.gaussian.knowledge import GlobalStatistics, digest
from edgeloop.gaussian.options import Config
from edgeloop.gaussian.statistics import (
    ClassStatistics,
    HalfClassStatistics,
    Labels,
    Matrix,
    Statistics,
    Sums,
)
from edgeloop.mixing import experts, weighing
from edgeloop.seeds import derive
from edgeloop.statistics.auc import micro_auc

WHY = "most hits in cross-validation, less a pull to a half"
"""Of a client's weight."""


class Expert(Protocol):
    """A classifier of features."""

    def log_posteriors(self, features_ND: Matrix) -> Matrix:
        """Return log p (N, C) of each class."""
        ...


@dataclass(frozen=True)
class MixedClassifier:
    """What a client ends with.

    Attributes:
        own: the classifier of its own samples.
        everybody: of all samples.
        weight: of everybody's log posteriors; the rest is its own's.
    """

    own: Expert
    everybody: Linear
    weight: float

    def scores(self, features_ND: Matrix) -> Matrix:
        """Return log posteriors (N, C) of each class."""
        return weighing.mixed_posteriors(
            self.own.log_posteriors(features_ND),
            self.everybody.log_posteriors(features_ND),
            self.weight,
        )


class StatisticsClient:
    """One client of a task with class statistics.

    Args:
        name: of the client, in the run.
        config: of the run.
        base: the one that the run is bound to.
        data: its own.

    Attributes:
        name: of the client.
        config: of the run.
        data: its own, where a network is trained on it, too; None elsewhere: features are enough.

    Raises:
        BaseError: if the base is another one than the run's, or does not fit the data.
        MisfitError: if a sample has a class that the run does not have.
        ConfigError: if it has more samples than an upload may stand for.
    """

    def __init__(self, name: str, config: Config, base: Extractor, data: ClientData) -> None:
        check_base(config, base)
        check_labels(config, name, data)
        check_samples(name, len(data.train.labels))
        begun = time.perf_counter()
        self.name = name
        self.config = config
        self._base = base
        self.data = data if config.network else None
        self._train = self._features(data.train), data.train.labels
        self._test = self._features(data.test), data.test.labels
        self._own = self._sums(np.arange(len(data.train.labels)))
        self._message = statistics.encode_upload(self._own, config.half)
        self._sent: tuple[Statistics, ...] = ()  # of which the server has one, or will
        self._known: tuple[int, MixedClassifier] | None = None
        self._hits_N = np.zeros(len(data.test.labels), bool)
        self._seconds = time.perf_counter() - begun

    def _features(self, samples: Samples) -> Matrix:
        return prepare_features(
            self._base.features(samples.inputs), self._base.variances_D, self.config
        )

    def _sums(self, chosen: Labels) -> Sums:
        features_ND, labels_N = self._train
        second = self.config.sends_second
        return statistics.class_sums(
            features_ND[chosen], labels_N[chosen], self.config.classes, second
        )

    def release(self, round_key: str | int, broadcast: GlobalStatistics) -> Release | None:
        """Return None: there is no private form of it yet."""
        return None

    def answer(
        self, round_number: int, broadcast: GlobalStatistics, trains: bool = True
    ) -> Answer[Statistics]:
        """Evaluate with the broadcast, then upload the statistics of all that it has."""
        report = self.finish(broadcast)
        held = tuple(each for each in self._sent if digest(each) in broadcast.holds)
        if not trains:
            return Answer(None, report)
        self._sent = (*held, self._message)
        return Answer(self._message, replace(report, seconds_training=self._seconds))

    def finish(self, broadcast: GlobalStatistics) -> Report:
        """Evaluate with a broadcast."""
        begun = time.perf_counter()
        mixture = self.mixture(broadcast)
        features_ND, labels_N = self._test
        scores_NC = mixture.scores(features_ND)
        self._hits_N = scores_NC.argmax(1) == labels_N
        correct = int(self._hits_N.sum())
        area = micro_auc(scores_NC, labels_N)
        samples = len(labels_N), len(self._train[1])
        return Report(correct, *samples, time.perf_counter() - begun, 0.0, area)

    def scores(
        self, inputs: NDArray[np.float32], broadcast: GlobalStatistics
    ) -> NDArray[np.float64]:
        """Return log posteriors (N, C) of inputs (N, ...), as its mixture sees them."""
        features = self._base.features(inputs)
        ready = prepare_features(features, self._base.variances_D, self.config)
        return self.mixture(broadcast).scores(ready)

    def join(self, broadcast: GlobalStatistics) -> tuple[Report, Report]:
        """Evaluate with the last broadcast; a late client's own samples are part of it."""
        report = self.finish(broadcast)
        return report, replace(report, seconds_training=self._seconds)

    def centre(self, broadcast: GlobalStatistics) -> Matrix:
        """Return the mean (D,) of its own features; everybody's where it has no sample."""
        known = self._own
        if not known.samples:
            known = broadcast.sums(self.config.classes, self._base.dims)
        found: Matrix = known.sums_CD.sum(0) / max(known.samples, 1.0)
        return found

    def mixture(self, broadcast: GlobalStatistics) -> MixedClassifier:
        """Return the classifier that a broadcast leads to, with the client's own weight."""
        key = digest(broadcast)
        if self._known is None or self._known[0] != key:
            self._known = key, self._fit(broadcast)
        return self._known[1]

    def _fit(self, broadcast: GlobalStatistics) -> MixedClassifier:
        others = self._others(broadcast)
        own, own_NC = self._alone
        everybody = self._linear(others + self._own, self._own)
        if not others.samples:
            return MixedClassifier(own, everybody, weight=0.0)
        all_NC = self._with_others(others)
        return MixedClassifier(own, everybody, weighing.weight(own_NC, all_NC, self._train[1]))

    def unseen(self, broadcast: GlobalStatistics) -> Matrix:
        """Return log posteriors (N, C) of its training samples by mixtures that lack each."""
        weight, own_NC = self.mixture(broadcast).weight, self._alone[1]
        return weighing.mixed_posteriors(own_NC, self._with_others(self._others(broadcast)), weight)

    def _with_others(self, others: Sums) -> Matrix:
        """Return everybody's log posteriors (N, C) of its samples, made without them."""
        return self._held_out(lambda known: self._linear(others + known, known))

    @cached_property
    def _alone(self) -> tuple[Expert, Matrix]:
        """Its own classifier, and the log posteriors (N, C) of its samples without themselves."""
        config, (features_ND, labels_N) = self.config, self._train
        if config.own == "kernel" and config.form == "gaussian" and len(labels_N):
            seed = derive(config.seed, "landmarks")
            spread_D = self._base.variances_D
            return kernel.fit_kernel(features_ND, labels_N, config.classes, spread_D, seed)
        own = self._linear(self._own, self._own)
        return own, self._held_out(lambda known: self._linear(known, known))

    def _held_out(self, make: Callable[[Sums], Linear]) -> Matrix:
        """Return the log posteriors (N, C) of its samples by classifiers made without them."""
        features_ND, labels_N = self._train

        def expert(learned: Labels, scored: Labels) -> Matrix:
            return make(self._sums(learned)).log_posteriors(features_ND[scored])

        seed = derive(self.config.seed, "folds")
        return weighing.held_out(expert, labels_N, self.config.classes, seed)

    def _linear(self, known: Sums, own: Sums) -> Linear:
        """Return the classifier of sums, with the prior of the client's own."""
        make = classifier.cosine if self.config.form == "cosine" else classifier.gaussian
        return make(known, own.counts_C, self._base.variances_D)

    def _others(self, broadcast: GlobalStatistics) -> Sums:
        """Return the sums of all others: everybody's, less its own if that is in them."""
        config, dims = self.config, self._base.dims
        everybody = broadcast.sums(config.classes, dims)
        for each in (self._message, *self._sent):
            if digest(each) in broadcast.holds:
                mine = statistics.decode_upload(each, config.classes, dims)
                return (everybody - mine).cleared()
        return everybody

    def mixing_metrics(
        self, broadcast: GlobalStatistics, network_NC: Matrix | None = None
    ) -> dict[str, Any]:
        """Return its weight, and what it is worth on test samples; see `mixing.mixture_metrics`.

        Args:
            broadcast: the last one.
            network_NC: the test samples' scores by a network of its own, which is then a part of
                what is mixed; None without one.
        """
        found = self.mixture(broadcast)
        features_ND, labels_N = self._test
        own_NC = found.own.log_posteriors(features_ND)
        all_NC = found.everybody.log_posteriors(features_ND)
        scores_NC = found.scores(features_ND)
        if network_NC is not None:
            scores_NC = weighing.joined(scores_NC, network_NC)
        chosen = experts.MixingWeights(found.weight, why=WHY, held_out=len(self._train[1]))
        return {
            **chosen.as_summary(),
            **experts.mixture_metrics(own_NC, all_NC, scores_NC, labels_N),
        }

    def hits(self) -> bytes:
        """Return which test samples the last evaluation has right, as `numpy.packbits` packs it."""
        return np.packbits(self._hits_N).tobytes()

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return what it has uploaded: all else that it knows comes of its data and the broadcast.

        Its data may have grown when it is started again, and what the server has be the old.
        """
        stored: dict[str, NDArray[Any]] = {"samples": np.array(len(self._train[1]))}
        for number, each in enumerate(self._sent):
            stored |= {f"sent/{number}/{name}": array for name, array in vars(each).items()}
        return stored

    def restore(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `weights` returned.

        Raises:
            RunError: if it is a network's.
        """
        kind = HalfClassStatistics if self.config.half else ClassStatistics
        numbers = range(len(weights) // len(fields(kind)))
        names = {f"sent/{n}/{each.name}" for n in numbers for each in fields(kind)}
        if set(weights) != {"samples", *names}:
            remedy = "use a new folder, or the algorithm it was stored with"
            raise RunError(f"the stored model of {self.name}", "is a network's", remedy)
        self._sent = tuple(
            kind(*(weights[f"sent/{n}/{each.name}"] for each in fields(kind))) for n in numbers
        )


def prepare_features(features_ND: Matrix, spread_D: Matrix, config: Config) -> Matrix:
    """Return features as a run's classifier reads them."""
    if config.form == "cosine":
        return classifier.whiten(features_ND, spread_D)
    return statistics.clip_features(features_ND)
