"""A client's own classifier: kernel ridge regression on its own features.

It learns what a client's few samples tell better than a Gaussian does, and says of each sample what
it would have said without it, in closed form, so that a client can weigh it without training again.

Shape suffixes: N samples, M of a part of them, L landmarks, C classes, D dimensions.
"""

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from edgeloop.gaussian.classifier import SMOOTH
from edgeloop.gaussian.statistics import Labels, Matrix
from edgeloop.mixing.weighing import normalised

LANDMARKS = 2000
"""Samples that the kernel is measured from, at most: with more a client draws so many."""
ROWS = 8192
"""Samples that are measured from the landmarks at once: of more the distances alone would take
gigabytes. With fewer nothing is divided, and no bit is another."""
RIDGE = 0.1
SHARPNESS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""What scores are multiplied by before they are log posteriors; a client's own choice."""


@dataclass(frozen=True)
class Kernel:
    """A classifier: sums of exp(-width |x - l|^2) over landmarks l.

    Attributes:
        spread_D: that features are divided by.
        landmarks_LD: divided so.
        width: of the kernel.
        weights_LC: of each landmark.
        bias_C: of each class, its share.
        sharpness: of the scores.
    """

    spread_D: Matrix
    landmarks_LD: Matrix
    width: float
    weights_LC: Matrix
    bias_C: Matrix
    sharpness: float

    def log_posteriors(self, features_ND: Matrix) -> Matrix:
        """Return log p (N, C) of each class."""
        parts = [self._log_posteriors(features_ND[part]) for part in _parts(len(features_ND))]
        return np.concatenate(parts)

    def _log_posteriors(self, features_ND: Matrix) -> Matrix:
        found = _kernel(features_ND / self.spread_D, self.landmarks_LD, self.width)
        return normalised(self.sharpness * (found @ self.weights_LC + self.bias_C))


def fit_kernel(
    features_ND: Matrix, labels_N: Labels, classes: int, variances_D: Matrix, seed: int
) -> tuple[Kernel, Matrix]:
    """Return the classifier, and the log posteriors (N, C) of each sample without itself.

    Args:
        features_ND: of the client, at least one.
        labels_N: their classes.
        classes: C.
        variances_D: of the base's dimensions.
        seed: of the draw of landmarks.
    """
    count = len(labels_N)
    spread_D = (variances_D + 1e-3 * variances_D.mean()) ** 0.25
    scaled_ND = features_ND / spread_D
    chosen = np.arange(count)
    if count > LANDMARKS:
        chosen = np.sort(np.random.default_rng(seed).permutation(count)[:LANDMARKS])
    landmarks_LD = scaled_ND[chosen]
    width = 1 / max(_mean_distance(scaled_ND), 1e-12)
    wanted_NC = np.eye(classes)[labels_N]
    bias_C = (wanted_NC.sum(0) + SMOOTH) / (count + SMOOTH * classes)
    near = _Near(scaled_ND, landmarks_LD, width)
    weights_LC, kept_N = near.solved(chosen, wanted_NC - bias_C)
    residual_NC = wanted_NC - bias_C - near.times(weights_LC)
    without_NC = wanted_NC - residual_NC / np.maximum(1 - kept_N, 1e-6)[:, None]
    sharpness = _sharpness(without_NC, labels_N)
    found = Kernel(spread_D, landmarks_LD, width, weights_LC, bias_C, sharpness)
    return found, normalised(sharpness * without_NC)


@dataclass(frozen=True)
class _Near:
    """How near samples are to landmarks, a part of the samples at a time.

    Attributes:
        rows_ND: the samples.
        landmarks_LD: the landmarks.
        width: of the kernel.
    """

    rows_ND: Matrix
    landmarks_LD: Matrix
    width: float

    def solved(self, chosen: Labels, wanted_NC: Matrix) -> tuple[Matrix, Matrix]:
        """Return the ridge regression's weights (L, C), and each sample's share in its own (N,).

        Args:
            chosen: the samples that are landmarks, ascending.
            wanted_NC: of each sample.
        """
        parts, landmarks = _parts(len(self.rows_ND)), np.zeros(len(self.rows_ND), bool)
        landmarks[chosen] = True
        gram_LL = reduce(np.add, (_gram(self._of(part)) for part in parts))
        own_LL = np.concatenate([self._of(part)[landmarks[part]] for part in parts])
        small_LL = 1e-9 * len(self.rows_ND) * np.eye(len(chosen))
        ridge_LL = gram_LL + RIDGE * own_LL + small_LL
        kept: list[Matrix] = []

        def weights(part: slice) -> Matrix:
            of_ML = self._of(part)
            solved_LM = np.linalg.solve(ridge_LL, of_ML.T)
            kept.append(np.einsum("nl,ln->n", of_ML, solved_LM))
            found: Matrix = solved_LM @ wanted_NC[part]
            return found

        weights_LC = reduce(np.add, map(weights, parts))
        return weights_LC, np.concatenate(kept)

    def times(self, weights_LC: Matrix) -> Matrix:
        """Return the samples' scores (N, C) by weights of landmarks."""
        return np.concatenate([self._of(p) @ weights_LC for p in _parts(len(self.rows_ND))])

    def _of(self, part: slice) -> Matrix:
        if len(self.rows_ND) <= ROWS:
            return self._whole
        return _kernel(self.rows_ND[part], self.landmarks_LD, self.width)

    @cached_property
    def _whole(self) -> Matrix:
        return _kernel(self.rows_ND, self.landmarks_LD, self.width)


def _gram(of_ML: Matrix) -> Matrix:
    found: Matrix = of_ML.T @ of_ML
    return found


def _parts(count: int) -> list[slice]:
    """Return the parts of so many samples, one at least."""
    return [slice(start, start + ROWS) for start in range(0, max(count, 1), ROWS)]


def _kernel(one_ND: Matrix, other_LD: Matrix, width: float) -> Matrix:
    distances = (one_ND**2).sum(1)[:, None] + (other_LD**2).sum(1)[None] - 2 * one_ND @ other_LD.T
    found: Matrix = np.exp(-width * np.maximum(distances, 0))
    return found


def _mean_distance(rows_ND: Matrix) -> float:
    """Return the mean squared distance of two different samples."""
    count = len(rows_ND)
    if count < 2:
        return float((rows_ND**2).sum()) or 1.0
    return float(2 * rows_ND.var(0).sum() * count / (count - 1))


def _sharpness(scores_NC: Matrix, labels_N: Labels) -> float:
    """Return the one under which the samples' own classes are likeliest."""
    rows = np.arange(len(labels_N))
    likely = [normalised(each * scores_NC)[rows, labels_N].sum() for each in SHARPNESS]
    return SHARPNESS[int(np.argmax(likely))]
