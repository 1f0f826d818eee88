"""Alignment: a server learns to turn classes' directions into latents of its generator.

A feature transformer F, of two layers, maps a class's unit vector to a latent; every class has a
latent centroid. Adam has the latents be distributed as the generator's prior (the maximum mean
discrepancy) and lie near their class's centroid. What the centroids are decides what the generator
is asked for:

- "free", as FedKTL's released code: an embedding, standard normal at first, that only Adam moves
  towards F(P). (The released routine that should set it to the classes' means assigns to a
  temporary row, and so changes nothing.)
- "means", as its paper: the mean of F(P) of each class, set again before and after each round's
  training, with exact statistics in the batch normalisation. Running ones lag behind the weights,
  at first by more than the classes' prototypes differ: then all classes get one latent, far from
  the prior, where the discrepancy has no gradient back.

Zhang et al., CVPR 2024, https://arxiv.org/abs/2403.15760, and its code (FedKTL, HtFLlib).

Shape suffixes: B prototypes of a batch, N of a round, C classes (also a prototype's entries), H
entries of a latent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop.generator import Generator
from edgeloop.hyperparameters import Centroids as Centroids
from edgeloop.knowledge import mmd, prototypes
from edgeloop.seeds import derive, drawing


@dataclass(frozen=True)
class AlignmentTraining:
    """How a server learns in a round.

    Attributes:
        epochs: over the round's prototypes.
        lr: Adam's.
        batch: prototypes a batch.
        clip: the largest norm of a gradient, of the transformer's and of the centroids'.
        anchor: the weight of the latents' distance to their class's centroid.
        widths: the discrepancy's kernels'; None for such as follow the median distance.
        centroids: what they are.
        seed: of shuffles and of the prior's samples.
    """

    epochs: int
    lr: float
    batch: int
    clip: float
    anchor: float
    widths: Sequence[float] | None
    centroids: Centroids
    seed: int


@dataclass(frozen=True, eq=False)
class State:
    """The feature transformer and the latent centroids.

    Attributes:
        rounds: how often they have learned.
        discrepancy: the MMD in the last batch; both losses must become small.
        distance: the mean squared distance of a latent to its class's centroid in that batch.
        floor: what the MMD would be if that batch's latents were the prior's, one a class.
        own_norm: of the generator's own samples, see `sample_statistics.SampleStatistics`: 0 before
            the first round.
        own_variance: likewise.
        own_apart: likewise.
        own_sharpness: likewise.
        own_difference: likewise.
        inner_CC: the first layer's weight; then its bias, and batch normalisation's parameters.
        outer_HC: the second layer's weight; then its bias.
        centroids_CH: the latent of each class.
    """

    rounds: int
    discrepancy: float
    distance: float
    floor: float
    own_norm: float
    own_variance: float
    own_apart: float
    own_sharpness: float
    own_difference: float
    inner_CC: npt.NDArray[np.float32]
    inner_C: npt.NDArray[np.float32]
    scale_C: npt.NDArray[np.float32]
    shift_C: npt.NDArray[np.float32]
    outer_HC: npt.NDArray[np.float32]
    outer_H: npt.NDArray[np.float32]
    centroids_CH: npt.NDArray[np.float32]


ServerBatch = tuple[Tensor, Tensor, Tensor]
"""Prototypes (B, C), their labels (B,), and as many latents of the prior (B, H)."""

DRAWS = 8
"""Of the prior, that a floor is the mean of."""

LAYERS = ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias")
ARRAYS = (
    *("inner_CC", "inner_C", "scale_C", "shift_C", "outer_HC", "outer_H"),
    "centroids_CH",
)
"""The transformer's tensors, and the state's arrays in the same order; then the centroids."""


def transformer(classes: int, latent_dim: int) -> nn.Sequential:
    """Return F, from a class's direction (C) to a latent (H).

    It keeps no running statistics: while it learns it has a batch's, and `class_latents` a round's.
    """
    return nn.Sequential(
        nn.Linear(classes, classes),
        nn.BatchNorm1d(classes, track_running_stats=False),
        nn.ReLU(),
        nn.Linear(classes, latent_dim),
    )


def initial_state(classes: int, latent_dim: int, seed: int) -> State:
    """Draw the transformer's first weights, and standard normal centroids."""
    with drawing(derive(seed, "server")):
        network = transformer(classes, latent_dim)
        centroids_CH = torch.randn(classes, latent_dim)
    return State(0, *(0.0,) * 8, *_arrays(network, centroids_CH))


def _arrays(network: nn.Sequential, centroids_CH: Tensor) -> list[npt.NDArray[np.float32]]:
    weights = network.state_dict()
    return [tensor.numpy() for tensor in (*(weights[name] for name in LAYERS), centroids_CH)]


def network_of(state: State) -> tuple[nn.Sequential, Tensor]:
    """Return the network and the centroids of a state."""
    latent_dim, classes = state.outer_HC.shape
    network = transformer(classes, latent_dim)
    *layers, centroids_CH = (torch.tensor(getattr(state, name)) for name in ARRAYS)
    network.load_state_dict(dict(zip(LAYERS, layers, strict=True)))
    return network, centroids_CH


def align(
    state: State,
    prototypes_NC: Tensor,
    labels_N: Tensor,
    generator: Generator,
    rules: AlignmentTraining,
) -> State:
    """Learn to turn one round's prototypes into the generator's latents; return the new state.

    Raises:
        GeneratorError: if the generator cannot be reached, or is another one by now.
    """
    network, centroids_CH = network_of(state)
    if rules.centroids == "means":
        centroids_CH = class_latents(network, prototypes_NC, labels_N, centroids_CH)
    drawn = batches(prototypes_NC, labels_N, state.rounds, generator, rules)
    last = train_alignment(network, centroids_CH.requires_grad_(True), drawn, rules)
    learned_CH = centroids_CH.detach()
    if rules.centroids == "means":
        learned_CH = class_latents(network, prototypes_NC, labels_N, learned_CH)
    found: dict[str, Any] = dict(zip(ARRAYS, _arrays(network, learned_CH), strict=True))
    if last is not None:
        found |= _batch_losses(last, len(learned_CH), state.rounds, generator, rules)
    return replace(state, rounds=state.rounds + 1, **found)


class LastBatch(NamedTuple):
    """A round's last batch: its two losses, its labels and the prior's latents beside it."""

    discrepancy: float
    distance: float
    labels_B: Tensor
    prior_BH: Tensor


def train_alignment(
    network: nn.Sequential,
    centroids_CH: Tensor,
    drawn: Iterable[ServerBatch],
    rules: AlignmentTraining,
) -> LastBatch | None:
    """Train the network and the centroids with Adam; return the last batch, None without any."""
    groups: list[list[Tensor]] = [list(network.parameters()), [centroids_CH]]
    optimizers = [torch.optim.Adam(group, lr=rules.lr) for group in groups]
    last = None
    for prototypes_BC, labels_B, prior_BH in drawn:
        latents_BH = network(prototypes_BC)
        away = mmd.discrepancy(latents_BH, prior_BH, rules.widths)
        apart = F.mse_loss(latents_BH, centroids_CH[labels_B])
        for optimizer in optimizers:
            optimizer.zero_grad()
        (away + rules.anchor * apart).backward()
        for group, optimizer in zip(groups, optimizers, strict=True):
            nn.utils.clip_grad_norm_(group, rules.clip)
            optimizer.step()
        last = LastBatch(away.item(), apart.item(), labels_B, prior_BH)
    return last


def batches(
    prototypes_NC: Tensor,
    labels_N: Tensor,
    round_number: int,
    generator: Generator,
    rules: AlignmentTraining,
) -> Iterator[ServerBatch]:
    """Yield prototypes, labels and as many latents of the prior, batch by batch, for all epochs.

    A batch of one is left out: batch normalisation cannot learn from it.
    """
    count, size = len(labels_N), rules.batch
    for epoch in range(rules.epochs if count > 1 else 0):
        seed = derive(rules.seed, "server", round_number, epoch)
        order_N = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        prior_NH = torch.from_numpy(generator.sample_latents(count, seed))
        for rows, prior_BH in zip(order_N.split(size), prior_NH.split(size), strict=True):
            if len(rows) > 1:
                yield prototypes_NC[rows], labels_N[rows], prior_BH


def _batch_losses(
    last: LastBatch, classes: int, round_number: int, generator: Generator, rules: AlignmentTraining
) -> dict[str, float]:
    """Return the last batch's losses, and the floor of one of them, as the state has them."""
    seed = derive(rules.seed, "floor", round_number)
    latents_NH = torch.from_numpy(generator.sample_latents(DRAWS * classes, seed))
    floors = [
        mmd.discrepancy(one_CH[last.labels_B], last.prior_BH, rules.widths).item()
        for one_CH in latents_NH.split(classes)
    ]
    floor = sum(floors) / DRAWS
    return {"discrepancy": last.discrepancy, "distance": last.distance, "floor": floor}


@torch.no_grad()
def class_latents(
    network: nn.Sequential, prototypes_NC: Tensor, labels_N: Tensor, centroids_CH: Tensor
) -> Tensor:
    """Return each class's mean latent (C, H); the one it had, where there is no new finite one."""
    if not len(labels_N):
        return centroids_CH
    latents_NH = exact_latents(network, prototypes_NC)
    means_CH, counts_C = prototypes.class_means(latents_NH, labels_N, len(centroids_CH))
    new_C = (counts_C > 0) & means_CH.isfinite().all(1)
    return torch.where(new_C.unsqueeze(1), means_CH, centroids_CH)


def exact_latents(network: nn.Sequential, prototypes_NC: Tensor) -> Tensor:
    """Return F's latents (N, H), normalised by what these prototypes have, even a single one."""
    inner, norm, *rest = network
    layer, hidden_NC = cast(nn.BatchNorm1d, norm), inner(prototypes_NC)
    variance_C, mean_C = torch.var_mean(hidden_NC, dim=0, correction=0)
    normal_NC = F.batch_norm(hidden_NC, mean_C, variance_C, layer.weight, layer.bias, eps=layer.eps)
    latents_NH: Tensor = nn.Sequential(*rest)(normal_NC)
    return latents_NH


UNLIKE, LOOSE, LITTLE = 2.0, 1.5, 0.5
"""Of the losses of a server that learns: at most so many floors, and variances of the prior.

A discrepancy of less than an eighth of a kernel sum's largest value is little even where a hundred
classes make the floor lower still.

With the embedded generator, measured (docs/fedktl.md): untrained,
they are 6 and 2.2; with FedKTL's defaults, 0.8 and 1.0 after the first round, and then less.
"""


def round_metrics(state: State) -> dict[str, float]:
    """Return the two losses, and beside each what it is to be compared with."""
    return {
        "discrepancy": state.discrepancy,
        "discrepancy_floor": state.floor,
        "distance": state.distance,
        "prior_variance": state.own_variance,
    }


def metric_warnings(measures: Mapping[str, float]) -> dict[str, str]:
    """Return what is wrong with the losses: a sentence, where they are not a learner's."""
    loss, floor = measures["discrepancy"], measures["discrepancy_floor"]
    apart, variance = measures["distance"], measures["prior_variance"]
    if loss <= max(UNLIKE * floor, LITTLE) and apart <= LOOSE * variance:
        return {}
    sentence = (
        f"the server's transformer is not trained: discrepancy {loss:.2f}, where {floor:.2f} is to"
        f" be reached, distance {apart:.2f}, where the prior's variance is {variance:.2f}; try"
        " other server_epochs, server_lr and anchor, or `edgeloop tune fedktl`"
    )
    return {"untrained": sentence}
