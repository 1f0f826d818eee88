"""A device's own weight: how much it believes the run's model, beside one trained alone.

What a device ends with is a mixture of two experts: `alone`, trained on its own data only, and
`together`, what the run has led to. Each one's scores become log posteriors at a temperature of its
own, and the weight is chosen on samples that neither has seen, as `weighing` chooses it.
Needs no torch.

Shape suffixes: N samples, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeloop.data.samples import Samples
from edgeloop.mixing import weighing
from edgeloop.seeds import derive
from edgeloop.statistics import chance

Mix = Literal["never", "half", "auto"]
Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SHARE = 0.2
"""Of the training samples that are held out."""
FOLDS = 5
"""Of the cross-validation that finds temperatures where too few samples would be held out."""
MIN_SAMPLES = 15
"""Samples held out, at least, that a weight is chosen by; with fewer it is a half."""
LEVEL = 0.05
"""A difference with a smaller p value is beyond chance."""
TEMPERATURES = tuple(2.0**power for power in range(-10, 11))
WARMEST_ALONE = 16.0
"""The temperature of one trained alone, at most: fewer samples by a fifth may be too few to learn
anything from, where all are enough."""
UNKNOWN = -30.0
"""The log posterior of a class that an expert does not know: the other may still be sure of it."""

WORSE_REASON = "the mixture is worse than alone beyond chance"


@dataclass(frozen=True)
class MixingWeights:
    """How two experts are mixed.

    Attributes:
        weight: of the run's model; the rest is that of the one trained alone.
        temperature_alone: what its scores are divided by.
        temperature_together: likewise.
        why: in a few words.
        held_out: samples that it was chosen by.
    """

    weight: float
    temperature_alone: float = 1.0
    temperature_together: float = 1.0
    why: str = ""
    held_out: int = 0

    def scores(self, alone_NC: Array, together_NC: Array) -> Array:
        """Return the mixture's log posteriors (N, C), not normalised, of both experts' scores."""
        if self.weight in (0.0, 1.0):
            return together_NC if self.weight else alone_NC
        own_NC = log_posteriors(alone_NC, self.temperature_alone)
        all_NC = log_posteriors(together_NC, self.temperature_together)
        mixed: Array = (1 - self.weight) * own_NC + self.weight * all_NC
        return mixed

    def as_summary(self) -> dict[str, Any]:
        """Return it as a summary has it."""
        return asdict(self)


def log_posteriors(scores_NC: Array, temperature: float) -> Array:
    """Return log softmax (N, C) of scores at a temperature; for minus infinity `UNKNOWN`."""
    scaled_NC = np.asarray(scores_NC, np.float64) / temperature
    shifted_NC = scaled_NC - scaled_NC.max(1, keepdims=True)
    found_NC: Array = shifted_NC - np.log(np.exp(shifted_NC).sum(1, keepdims=True))
    return np.where(np.isneginf(found_NC), UNKNOWN, found_NC)


def pooled(scores: Sequence[Array], temperature: float) -> Array:
    """Return a committee's scores (N, C) at a temperature: of its mean log posteriors.

    Cross-validation committees (Parmanto, Munro and Doyle, NIPS 1996), in a logarithmic pool.

    Args:
        scores: of each of its networks, (N, C).
        temperature: at which they become log posteriors, and the committee's scores again.
    """
    found: Array = temperature * np.mean([log_posteriors(each, temperature) for each in scores], 0)
    return found


def are_usable(scores_NC: NDArray[np.floating[Any]]) -> bool:
    """Return whether scores are scores: none is NaN, and each sample has a class."""
    if np.isfinite(scores_NC).all():
        return bool(scores_NC.shape[1])
    lost = np.isnan(scores_NC).any() or np.isposinf(scores_NC).any()
    return not lost and bool(np.isfinite(scores_NC).any(axis=1).all())


def held_out_seed(seed: int, name: str) -> int:
    """Return the seed by which a client's samples are held out, in a run of this seed."""
    return derive(seed, "client", name, "held-out")


def held_out(labels_N: Labels, seed: int) -> NDArray[np.bool_]:
    """Say which samples (N,) are held out: a fifth of each class, as nearly as can be.

    Classes take turns, so that a class of one or two samples gives none before a larger one does.

    Args:
        labels_N: of a client's training samples.
        seed: of the draw.
    """
    order_N = np.random.default_rng(seed).permutation(len(labels_N))
    place_N = np.empty(len(labels_N))
    for label in np.unique(labels_N):
        own = order_N[labels_N[order_N] == label]
        place_N[own] = (np.arange(len(own)) + 0.5) / len(own)
    chosen = np.zeros(len(labels_N), bool)
    ranked = order_N[np.argsort(place_N[order_N], kind="stable")]
    chosen[ranked[: int(SHARE * len(labels_N))]] = True
    return chosen


def held_out_samples(train: Samples, seed: int, name: str) -> Samples:
    """Return the samples that a client holds out, in a run of a seed."""
    out_N = held_out(train.labels, held_out_seed(seed, name))
    return Samples(train.inputs[out_N], train.labels[out_N])


def folds(labels_N: Labels, seed: int) -> NDArray[np.int64]:
    """Deal samples to `FOLDS` folds, each class as evenly as can be; return each one's (N,)."""
    order_N = np.random.default_rng(seed).permutation(len(labels_N))
    ranked = order_N[np.argsort(labels_N[order_N], kind="stable")]
    found_N = np.empty(len(labels_N), np.int64)
    found_N[ranked] = np.arange(len(labels_N)) % FOLDS
    return found_N


def temperature(scores_NC: Array, labels_N: Labels) -> float:
    """Return the one of `TEMPERATURES` under which the samples' own classes are likeliest.

    Where several are, as of scores that are always right, it is the highest of them.
    """
    rows = np.arange(len(labels_N))
    likely = [log_posteriors(scores_NC, each)[rows, labels_N].sum() for each in TEMPERATURES]
    best = max(likely)
    return max(t for t, found in zip(TEMPERATURES, likely, strict=True) if found >= best - 1e-9)


def equal_weights(
    alone_NC: Array, together_NC: Array, labels_N: Labels, why: str, gated: bool = True
) -> MixingWeights:
    """Return half and half, at the temperatures of these samples; alone, if that is worse by them.

    Args:
        alone_NC: scores of the one trained alone, which has not seen the samples.
        together_NC: of the run's, likewise.
        labels_N: the samples' classes.
        why: in a few words.
        gated: whether it is alone if half and half is worse beyond chance.
    """
    found = _calibrated(alone_NC, together_NC, labels_N, why)
    return _gated(found, alone_NC, together_NC, labels_N) if gated else found


def choose_weights(alone_NC: Array, together_NC: Array, labels_N: Labels) -> MixingWeights:
    """Return how to mix two experts, by samples that they have not seen; see `equal_weights`."""
    found = _calibrated(alone_NC, together_NC, labels_N, "most hits, less a pull to a half")
    own_NC = log_posteriors(alone_NC, found.temperature_alone)
    all_NC = log_posteriors(together_NC, found.temperature_together)
    found = replace(found, weight=weighing.weight(own_NC, all_NC, labels_N))
    return _gated(found, alone_NC, together_NC, labels_N)


def _calibrated(alone_NC: Array, together_NC: Array, labels_N: Labels, why: str) -> MixingWeights:
    own = min(temperature(alone_NC, labels_N), WARMEST_ALONE)
    return MixingWeights(0.5, own, temperature(together_NC, labels_N), why, len(labels_N))


def _gated(
    found: MixingWeights, alone_NC: Array, together_NC: Array, labels_N: Labels
) -> MixingWeights:
    """Return a choice, or alone if the mixture is worse than it beyond chance."""
    if is_worse(found.scores(alone_NC, together_NC), alone_NC, labels_N):
        return replace(found, weight=0.0, why=WORSE_REASON)
    return found


def hits(scores_NC: Array, labels_N: Labels) -> NDArray[np.bool_]:
    """Say which samples (N,) have the highest score at their own class."""
    if not len(labels_N):
        return np.zeros(0, bool)
    best_N = np.where(np.isnan(scores_NC), -np.inf, scores_NC)
    known = np.isfinite(best_N.max(1))
    right: NDArray[np.bool_] = known & (best_N.argmax(1) == labels_N)
    return right


def is_worse(one_NC: Array, other_NC: Array, labels_N: Labels) -> bool:
    """Return whether the first scores are worse beyond chance; see `is_worse_hits`."""
    return is_worse_hits(hits(one_NC, labels_N), hits(other_NC, labels_N))


def is_worse_hits(one_N: NDArray[np.bool_], other_N: NDArray[np.bool_]) -> bool:
    """Return whether the first hits are fewer than the second beyond chance (McNemar, exact)."""
    return bool(one_N.sum() < other_N.sum()) and p_value(one_N, other_N) < LEVEL


def p_value(one_N: NDArray[np.bool_], other_N: NDArray[np.bool_]) -> float:
    """Return McNemar's p value of two classifiers' hits of the same samples."""
    return chance.mcnemar(int((one_N & ~other_N).sum()), int((other_N & ~one_N).sum()))


def mixture_metrics(
    alone_NC: Array, together_NC: Array, mixed_NC: Array, labels_N: Labels
) -> dict[str, Any]:
    """Return what each is worth on test samples; they decide nothing.

    Returns:
        their number, the three accuracies (None without samples), and of the mixture against alone
        the samples "gained" and "lost".
    """
    found = {"alone": alone_NC, "together": together_NC, "mixed": mixed_NC}
    right = {name: hits(scores_NC, labels_N) for name, scores_NC in found.items()}
    return {
        "test_samples": len(labels_N),
        **{name: float(hit.mean()) if len(hit) else None for name, hit in right.items()},
        "gained": int((right["mixed"] & ~right["alone"]).sum()),
        "lost": int((right["alone"] & ~right["mixed"]).sum()),
    }


def summarize(how: str, clients: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a simulation tells of all clients.

    Means are over clients with test samples. A client is better or worse than alone by its
    accuracy; beyond chance if McNemar's test of all clients together (Holm) says so.
    """
    tested = {name: each for name, each in clients.items() if each["test_samples"]}
    means = {
        key: _mean([each[key] for each in tested.values()])
        for key in ("weight", "alone", "together", "mixed")
    }
    flips = [(each["gained"], each["lost"]) for each in tested.values()]
    sure = chance.holm([chance.mcnemar(*each) for each in flips])
    return {
        "how": how,
        "mean": {**means, "test_samples": sum(each["test_samples"] for each in tested.values())},
        "clients_better": sum(gained > lost for gained, lost in flips),
        "clients_worse": sum(lost > gained for gained, lost in flips),
        "clients_better_beyond_chance": _beyond(flips, sure, 1),
        "clients_worse_beyond_chance": _beyond(flips, sure, -1),
        "clients": {name: dict(each) for name, each in clients.items()},
    }


def _beyond(flips: Sequence[tuple[int, int]], sure: Sequence[bool], sign: int) -> int:
    pairs = zip(flips, sure, strict=True)
    return sum(certain and sign * (gained - lost) > 0 for (gained, lost), certain in pairs)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
