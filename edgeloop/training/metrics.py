"""Metrics beside accuracy and AUC, each a function of a client's scores and labels.

Other packages bring more: entry points of `edgeloop.metrics`; a person brings one by its import
path.

Shape suffixes: N samples, C classes.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgeloop.errors import ConfigError, choose
from edgeloop.runtime.plugins import METRICS

Scores = NDArray[np.float32]
Labels = NDArray[np.int64]
Metric = Callable[[Scores, Labels], float]
"""Scores (N, C), the highest is the class, and labels (N,), N above 0, to one number."""


def balanced_accuracy(scores_NC: Scores, labels_N: Labels) -> float:
    """Return the mean of the classes' shares of right answers, over the classes that are there."""
    right_N = scores_NC.argmax(axis=1) == labels_N
    return float(np.mean([right_N[labels_N == label].mean() for label in np.unique(labels_N)]))


def macro_f1(scores_NC: Scores, labels_N: Labels) -> float:
    """Return the mean of the classes' F1, over the classes that are there or were guessed."""
    guesses_N = scores_NC.argmax(axis=1)
    classes = np.union1d(guesses_N, labels_N)
    both = [np.count_nonzero((guesses_N == c) & (labels_N == c)) for c in classes]
    sums = [np.count_nonzero(guesses_N == c) + np.count_nonzero(labels_N == c) for c in classes]
    return float(np.mean([2 * hits / total for hits, total in zip(both, sums, strict=True)]))


BUILT_IN: Mapping[str, Metric] = {"balanced-accuracy": balanced_accuracy, "macro-f1": macro_f1}


def find(name: str) -> Metric:
    """Return the metric of a name.

    Raises:
        ConfigError: if there is none, or another package's is broken.
    """
    point = METRICS.find(name, BUILT_IN)
    if point is None:
        if name not in BUILT_IN:
            known = [*BUILT_IN, *METRICS.names()]
            raise ConfigError("metrics", f"there is no {name!r}", choose(name, known))
        return BUILT_IN[name]
    with METRICS.asked(point):
        found: Metric = point.load()
        if not callable(found):
            raise TypeError("it is no function of scores and labels")

    def measure(scores_NC: Scores, labels_N: Labels) -> float:
        with METRICS.asked(point):
            return float(found(scores_NC.copy(), labels_N.copy()))  # theirs to change

    return measure
