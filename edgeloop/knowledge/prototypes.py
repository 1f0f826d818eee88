"""Class prototypes: mean feature vectors, one a class, and the messages that carry them.

Shape suffixes: B samples, N uploaded prototypes, C classes, K features (D on the wire).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop.algorithm import Algorithm, Batch, Batches, CollectedOutputs, Forward
from edgeloop.models.split import SplitModel
from edgeloop.protocol.wire import Counts

OWN = "own"
"""The place of a client's own class counts in what its model keeps."""

SMOOTHING = 0.1
"""Samples that its own class prior adds to each class."""


S = TypeVar("S")
U = TypeVar("U")
B = TypeVar("B")


@dataclass(frozen=True, eq=False)
class PrototypeUpload:
    """One client's prototypes, for the classes it has training samples of.

    Attributes:
        labels_N: the classes, ascending, each once.
        counts_N: how many training samples each prototype is the mean of.
        prototypes_ND: the prototypes.

    Raises:
        ValueError: if the labels are not ascending or a count is not positive.
    """

    labels_N: npt.NDArray[np.int64]
    counts_N: Counts
    prototypes_ND: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        steps_up = self.labels_N[1:] > self.labels_N[:-1]  # a difference would wrap
        if (self.labels_N < 0).any() or not steps_up.all():
            raise ValueError("the labels are not ascending class numbers")
        if (self.counts_N < 1).any():
            raise ValueError("a prototype of fewer than one sample")


@dataclass(frozen=True, eq=False)
class GlobalPrototypes:
    """The prototypes that every client is drawn to.

    Attributes:
        known_C: which classes have one; none before the first round.
        prototypes_CD: the prototypes; zeros where there is none.
    """

    known_C: npt.NDArray[np.bool_]
    prototypes_CD: npt.NDArray[np.float32]


class Targets(NamedTuple):
    """Global prototypes as tensors on the device that trains."""

    known_C: Tensor
    prototypes_CK: Tensor


def no_prototypes(classes: int, width: int) -> GlobalPrototypes:
    """Return the broadcast of a round that nothing has been learned before."""
    return GlobalPrototypes(np.zeros(classes, bool), np.zeros((classes, width), np.float32))


def targets(broadcast: GlobalPrototypes, device: torch.device) -> Targets:
    """Put a broadcast's arrays on a device."""
    return Targets(
        torch.tensor(broadcast.known_C, device=device),
        torch.tensor(broadcast.prototypes_CD, device=device),
    )


def class_means(features_BK: Tensor, labels_B: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Average the features of each class.

    Returns:
        means (C, K), zeros for a class without samples, and counts (C,).
    """
    counts_C = torch.bincount(labels_B, minlength=classes)
    sums_CK = features_BK.new_zeros(classes, features_BK.shape[1])
    sums_CK.index_add_(0, labels_B, features_BK)
    return sums_CK / counts_C.clamp(min=1).unsqueeze(1), counts_C


def upload_of(features_NK: Tensor, labels_N: Tensor, classes: int) -> PrototypeUpload:
    """Return a client's upload: the mean feature of each class that it has."""
    means_CK, counts_C = class_means(features_NK, labels_N, classes)
    seen = counts_C > 0
    return PrototypeUpload(
        seen.nonzero().squeeze(1).cpu().numpy(),
        counts_C[seen].cpu().numpy(),
        means_CK[seen].cpu().numpy(),
    )


def upload_collected(
    model: object,
    batches: Batches,
    collected: CollectedOutputs,
    *,
    classes: int,
    width: int,
    epochs: int = 1,
) -> PrototypeUpload:
    """Average what a recipe saw, over all batches of all epochs; the counts are those of one.

    Shuffled epochs may leave a sample out, each another one; then the counts are the mean of all,
    rounded down, and at least 1.

    Args:
        model: not asked: what it showed is in `seen`.
        batches: of the client.
        collected: what was noted; nothing for a client without a full batch.
        classes: C.
        width: K, the entries of what was noted.
        epochs: how often each sample was seen.
    """
    nothing = batches.inputs.new_zeros(0, width), batches.labels[:0]
    noted, labels = zip(nothing, *collected, strict=True)
    upload = upload_of(torch.cat(noted), torch.cat(labels), classes)
    return replace(upload, counts_N=np.maximum(upload.counts_N // epochs, 1))


def check_labels(upload: PrototypeUpload, classes: int) -> None:
    """Refuse an upload with a class that the task does not have.

    Raises:
        ValueError: naming the class.
    """
    beyond = upload.labels_N[upload.labels_N >= classes]
    if len(beyond):
        raise ValueError(f"class {beyond[-1]}, the task has {classes}")


def concatenated(uploads: Sequence[PrototypeUpload]) -> tuple[Tensor, Tensor, Tensor]:
    """Return all uploads' labels (N,), counts (N,) and prototypes (N, K), client after client."""
    return (
        torch.from_numpy(np.concatenate([upload.labels_N for upload in uploads])),
        torch.from_numpy(np.concatenate([upload.counts_N for upload in uploads])),
        torch.from_numpy(np.concatenate([upload.prototypes_ND for upload in uploads])),
    )


def average(
    uploads: Sequence[PrototypeUpload],
    classes: int,
    weighted: bool = False,
    factors: Sequence[float] | None = None,
) -> GlobalPrototypes:
    """Average each class over the clients that have it; a class that nobody sent has none.

    Args:
        uploads: one a client.
        classes: C.
        weighted: count each client by its samples of the class; else alike.
        factors: what each upload counts besides, by how old it is; None for all alike.
    """
    labels_N, counts_N, prototypes_NK = concatenated(uploads)
    weights_N = (counts_N if weighted else torch.ones_like(counts_N)).double()
    if factors is not None:
        classes_of = [len(upload.labels_N) for upload in uploads]
        weights_N *= torch.tensor(np.repeat(np.asarray(factors, np.float64), classes_of))
    sums_CK = torch.zeros(classes, prototypes_NK.shape[1], dtype=torch.float64)
    sums_CK.index_add_(0, labels_N, prototypes_NK * weights_N.unsqueeze(1))
    totals_C = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels_N, weights_N)
    means_CK = sums_CK / totals_C.where(totals_C > 0, 1.0).unsqueeze(1)
    return GlobalPrototypes((totals_C > 0).numpy(), means_CK.numpy().astype(np.float32))


def attraction(features_BK: Tensor, labels_B: Tensor, goal: Targets, distance: str) -> Tensor:
    """Return how far a batch's features are from their classes' prototypes, a scalar.

    A sample whose class has no prototype is at distance 0 and still counts in the mean.

    Args:
        features_BK: the batch's features.
        labels_B: their labels.
        goal: the global prototypes.
        distance: "mse", the mean over all B x K entries (the released code's); or "euclidean", the
            mean over B of the Euclidean distance (the papers').
    """
    gap_BK = (features_BK - goal.prototypes_CK[labels_B]) * goal.known_C[labels_B].unsqueeze(1)
    if distance == "mse":
        return gap_BK.square().mean()
    distances_B: Tensor = torch.linalg.vector_norm(gap_BK, dim=1)
    return distances_B.mean()


def attraction_loss(
    forward: Forward, batch: Batch, goal: Targets, *, weight: float, distance: str
) -> Tensor:
    """Return cross-entropy plus the weighted pull of the features to their classes' prototypes."""
    inputs, labels_B = batch
    features_BK, logits_BC = forward(inputs)
    away = attraction(features_BK, labels_B, goal, distance)
    return F.cross_entropy(logits_BC, labels_B) + weight * away


def nearness(features_BK: Tensor, goal: Targets, prior_C: Tensor | None = None) -> Tensor:
    """Return the scores (B, C) of the nearest-prototype classifier: minus the mean squared gap.

    A class without a prototype scores minus infinity.

    Args:
        features_BK: of the samples.
        goal: the global prototypes.
        prior_C: log probabilities of the classes, as `log_prior` returns them: then the score is
            minus half of the squared gap, not divided by K, plus these.
    """
    products_BC = features_BK @ goal.prototypes_CK.T
    squares_BC = (
        features_BK.square().sum(1, keepdim=True)
        + goal.prototypes_CK.square().sum(1)
        - 2 * products_BC
    )
    return distance_scores(squares_BC, features_BK.shape[1], goal.known_C, prior_C)


def distance_scores(
    squares_BC: Tensor, entries: int | Tensor, known_C: Tensor, prior_C: Tensor | None
) -> Tensor:
    """Return scores (B, C) of squared gaps; minus infinity for a class without a prototype.

    Args:
        squares_BC: the gaps; what is below 0 by rounding counts as 0.
        entries: how many each is the sum of, for a mean where there is no prior.
        known_C: which classes have a prototype.
        prior_C: as for `nearness`.
    """
    away_BC = -squares_BC.clamp(min=0)
    scores_BC = away_BC / entries if prior_C is None else away_BC / 2 + prior_C
    return scores_BC.masked_fill(~known_C, -torch.inf)


class OwnCounts(nn.Module):
    """How many training samples of each class a client has; its model keeps it.

    Attributes:
        counts_C: all of them, also those that make no batch.
    """

    counts_C: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("counts_C", torch.zeros(classes, dtype=torch.int64))


def with_own_prior(algorithm: Algorithm[S, U, B]) -> Algorithm[S, U, B]:
    """Return an algorithm whose clients count their classes, for a `predict` that reads them.

    The counts are exact, and so no private client may have them.
    """
    shows = "predictions by a client's own class prior show its training samples' classes"
    return replace(
        algorithm, init_client_state=init_own_counts, load_broadcast=count_own, privacy_leak=shows
    )


def init_own_counts(model: SplitModel) -> None:
    """Add the place of a client's own class counts to its model; an `init_client_state`."""
    model.kept[OWN] = OwnCounts(model.classes)


def count_own(model: SplitModel, batches: Batches, broadcast: Any) -> None:
    """Count a client's training samples of each class; a `load_broadcast`."""
    kept = cast(OwnCounts, model.kept[OWN])
    kept.counts_C.copy_(torch.bincount(batches.labels, minlength=model.classes))


def log_prior(model: SplitModel) -> Tensor | None:
    """Return a client's own class prior (C,), log((n_c + 0.1) / (n + 0.1 C)).

    None for a model that keeps no counts; the exported form of a model will do as well.
    """
    if OWN not in model.kept:
        return None
    smooth_C = cast(OwnCounts, model.kept[OWN]).counts_C + SMOOTHING
    return torch.log(smooth_C / smooth_C.sum())
