"""A Gaussian classifier from class statistics, with the client's own class prior.

One covariance for all classes, shrunk to the base's own; federated on frozen features as in CCVR
(Luo et al., 2021), FedNCM (Legate et al., 2023) and Fed3R (Fani et al., ICML 2024). Each client's
own prior, and its own weight for what others know, are ours.

Shape suffixes: N samples, C classes, D dimensions.
"""

from dataclasses import dataclass

import numpy as np

from edgeloop.gaussian.statistics import Matrix, Sums, is_positive
from edgeloop.mixing.weighing import normalised

STRENGTH = 0.5
"""Samples that the base's own covariance counts for, times the dimensions."""
SMOOTH = 0.1
"""Samples of each class that a client is taken to have beside its own."""
UNKNOWN = -1e4
"""The score of a class that nobody has."""


@dataclass(frozen=True)
class Linear:
    """A classifier: scores are features times weights, plus bias.

    Attributes:
        weights_DC: any.
        bias_C: with the client's prior in it.
    """

    weights_DC: Matrix
    bias_C: Matrix

    def log_posteriors(self, features_ND: Matrix) -> Matrix:
        """Return log p (N, C) of each class."""
        return normalised(features_ND @ self.weights_DC + self.bias_C)


def gaussian(
    known: Sums, own_counts_C: Matrix, spread_D: Matrix, strength: float | None = None
) -> Linear:
    """Return the Gaussian classifier of sums, for one client.

    With W the covariance within classes and m a class's mean, its score is x^T W^-1 m -
    m^T W^-1 m / 2 + log of the class's share in the client's own samples.

    Args:
        known: the sums; without a second moment the base's covariance takes its place.
        own_counts_C: the client's own samples of each class.
        spread_D: the variances of the base's dimensions.
        strength: samples that the base's covariance counts for; None for half of D.
    """
    dims = len(spread_D)
    strength = STRENGTH * dims if strength is None else strength
    means_CD = known.sums_CD / np.maximum(known.counts_C, 1e-9)[:, None]
    within_DD = _within(known, means_CD, spread_D, strength)
    weights_DC: Matrix = np.linalg.solve(within_DD, means_CD.T).astype(np.float64)
    bias_C = -0.5 * np.einsum("dc,cd->c", weights_DC, means_CD)
    bias_C = np.where(known.counts_C > 0, bias_C, UNKNOWN) + log_prior(own_counts_C)
    if dims and not known.counts_C.any():
        bias_C = np.full(len(bias_C), UNKNOWN) + log_prior(own_counts_C)
    return Linear(weights_DC, bias_C)


def _within(known: Sums, means_CD: Matrix, spread_D: Matrix, strength: float) -> Matrix:
    """Return the covariance within classes (D, D).

    Sums of hostile statistics may have a scatter that is not positive; the base's covariance then
    takes its place.
    """
    prior_DD = np.diag(0.7 * spread_D + 0.3 * spread_D.mean())
    covariance = prior_DD
    if known.second_DD is not None:
        freedom = max(known.samples - float((known.counts_C > 0).sum()), 0.0)
        scatter = known.second_DD - known.sums_CD.T @ means_CD
        shrunk = (scatter + strength * prior_DD) / (freedom + strength)
        covariance = shrunk if is_positive(shrunk) else prior_DD
    least = 1e-6 * np.trace(covariance) / len(covariance)
    found: Matrix = covariance + least * np.eye(len(covariance))
    return found


def cosine(known: Sums, own_counts_C: Matrix, spread_D: Matrix, sharpness: float = 10.0) -> Linear:
    """Return nearest class means by cosine on whitened features, for few samples of each class.

    Scores are of features that the caller has whitened with `whiten` and made of length 1.

    Args:
        known: the sums of such features.
        own_counts_C: the client's own samples of each class.
        spread_D: not used: features are whitened.
        sharpness: that cosines are multiplied by before they are log posteriors.
    """
    means_CD = known.sums_CD / np.maximum(np.linalg.norm(known.sums_CD, axis=1), 1e-12)[:, None]
    bias_C = np.where(known.counts_C > 0, 0.0, UNKNOWN) + log_prior(own_counts_C)
    return Linear(sharpness * means_CD.T, bias_C)


def whiten(features_ND: Matrix, spread_D: Matrix) -> Matrix:
    """Return features of equal variance in all dimensions, each of length 1."""
    scaled = features_ND / np.sqrt(spread_D + 1e-3 * spread_D.mean())
    found: Matrix = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    return found


def log_prior(own_counts_C: Matrix) -> Matrix:
    """Return the logarithm of each class's share (C,) in the client's own samples, smoothed."""
    found: Matrix = np.log(
        (own_counts_C + SMOOTH) / (own_counts_C.sum() + SMOOTH * len(own_counts_C))
    )
    return found
