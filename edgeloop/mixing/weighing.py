"""How much a client believes the others: a weight between its own scores and everybody's.

The rule was found by us, on hold-outs of small clients: plain cross-validation harms more than a
quarter of clients with ten samples, and log-likelihood harms classifiers that are too sure; a pull
to a half as strong as chance does neither.

Shape suffixes: N samples, C classes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]

GRID = (0.0, 0.25, 0.5, 0.75, 1.0)
FOLDS = 5
_PULL = 2.0

Learn = Callable[[Labels, Labels], Matrix]
"""Indices of samples to learn from, and of samples to score, to log posteriors of these (N, C)."""


def mixed_posteriors(own_NC: Matrix, all_NC: Matrix, weight: float) -> Matrix:
    """Return log posteriors (N, C): so much of everybody's, the rest of its own."""
    return normalised((1 - weight) * own_NC + weight * all_NC)


def joined(mixed_NC: Matrix, network_NC: Matrix) -> Matrix:
    """Return log posteriors (N, C) with a network's in them, as much as all others' together.

    Args:
        mixed_NC: log posteriors, as `mixed_posteriors` returns.
        network_NC: the scores of a network that the client has trained alone.
    """
    return normalised(mixed_NC + normalised(network_NC))


def joins(mixed_NC: Matrix, network_NC: Matrix, labels_N: Labels) -> bool:
    """Return whether a mixture has more hits with a network in it, of samples unseen by both."""
    without = int((mixed_NC.argmax(1) == labels_N).sum())
    return int((joined(mixed_NC, network_NC).argmax(1) == labels_N).sum()) > without


def held_out(learn: Learn, labels_N: Labels, classes: int, seed: int) -> Matrix:
    """Return log posteriors (N, C) of each sample by classifiers that have not seen it.

    Args:
        learn: from some samples, and score others.
        labels_N: of the client's training samples.
        classes: C.
        seed: of the folds.
    """
    count = len(labels_N)
    found_NC = np.zeros((count, classes))
    folds_N = np.random.default_rng(seed).permutation(count) % max(min(FOLDS, count), 1)
    for fold in range(int(folds_N.max(initial=-1)) + 1):
        out = folds_N == fold
        found_NC[out] = learn(np.flatnonzero(~out), np.flatnonzero(out))
    return found_NC


def weight(own_NC: Matrix, all_NC: Matrix, labels_N: Labels) -> float:
    """Return the weight of everybody's scores: most hits, less a pull to a half.

    The pull is twice the root of N times the square of the distance to a half, so that few samples
    decide little. Without any sample everybody's scores are all that there is.

    Args:
        own_NC: log posteriors by the client's own classifier, of samples it has not seen.
        all_NC: by everybody's.
        labels_N: the samples' classes.
    """
    if not len(labels_N):
        return 1.0
    grid = np.array(GRID)
    hits = [int((mixed_posteriors(own_NC, all_NC, w).argmax(1) == labels_N).sum()) for w in GRID]
    gains = np.array(hits) - _PULL * np.sqrt(len(labels_N)) * (grid - 0.5) ** 2
    return float(grid[gains.argmax()])


def normalised(scores_NC: Matrix) -> Matrix:
    """Return scores as log posteriors: their exponentials sum to 1."""
    lowered = scores_NC - scores_NC.max(1, keepdims=True)
    found: Matrix = lowered - np.log(np.exp(lowered).sum(1, keepdims=True))
    return found
