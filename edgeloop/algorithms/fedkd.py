"""FedKD: a client's model teaches a small shared one, which travels compressed, and learns from it.

Wu, Wu, Lyu, Huang and Xie, Nature Communications 2022. https://arxiv.org/abs/2108.13323

Differences from the released code (HtFLlib's FedKD), which the defaults follow:

- The code never keeps a matrix whole: where all ranks but the full one have too little energy it
  keeps rank 0, that is zeros. It strikes matrices with few or flat singular values, for instance
  all 1 x n kernels. The variant `repaired` keeps those whole, and sends a tensor raw where its
  factors would be longer.
- Weights that are not finite are sent raw, where the code's decomposition fails.
- The loss divides by at least 1e-8; the code gives NaN once both models have loss 0.
- The energy stops at its end where a run goes on beyond `horizon`, the code's number of rounds
  (2000 in its scripts, whenever they stop).
- The first mentee travels too, raw; in the code every client is made with it.

As there, the divergence is divided by classes too, nothing is held fixed, clients count alike, and
what batch normalisation counts stays with the client.

Shape suffixes: P parameters, F floats that travel, T tensors, M and N rows and columns of a
matrix, R its singular values, K features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from edgeloop import distillation, models, weights
from edgeloop.algorithm import Algorithm, Batch, Batches, Card, Count, Forward, Positive
from edgeloop.models.split import SplitModel
from edgeloop.seeds import drawing

CARD = Card(
    title="FedKD",
    runs=("simulation", "mqtt"),
    up="the mentee's weights as the factors of a singular value decomposition",
    down="the same",
    paper="Wu et al., Nature Communications 2022, arXiv:2108.13323",
    variants={"released": {}, "repaired": {"repaired": True}},
)

Energy = Annotated[float, Ge(0), Le(1)]
Shapes = Sequence[tuple[int, ...]]
Array = npt.NDArray[Any]
RAW = -1
"""In the place of a rank: the tensor travels as it is."""


@dataclass(frozen=True)
class Config:
    """Hyperparameters.

    Attributes:
        classes: C.
        width: K, the unified feature width.
        shape: of one input, channels first.
        architecture: of the mentee.
        seed: the run's seed; the mentee's and W's first weights are drawn from it.
        local_epochs: E.
        local_lr: eta, of the teacher and W.
        mentee_lr: the mentee's learning rate.
        clip: the largest norm of the gradients of the teacher, the mentee and W.
        energy_start: T_s, the share of a matrix's squared singular values to keep, in round 0.
        energy_end: T_e, the share in round T.
        horizon: T.
        repaired: keep the full rank where no lower one will do, and send what is shorter raw.
    """

    classes: Count
    width: Count
    shape: tuple[int, ...] = (3, 32, 32)
    architecture: str = "cnn"
    seed: int = 0
    local_epochs: Count = 1
    local_lr: Positive = 0.01
    mentee_lr: Positive = 0.01
    clip: Positive = 10.0
    energy_start: Energy = 0.95
    energy_end: Energy = 0.98
    horizon: Count = 2000
    repaired: bool = False


@dataclass(frozen=True)
class State:
    """How many rounds have gone by; the mentee is made anew each round."""

    rounds: int


@dataclass(frozen=True, eq=False)
class Factors:
    """One client's mentee.

    Attributes:
        ranks_T: how many singular values of each tensor are kept; `RAW` for none of this.
        factors_F: tensor after tensor, flattened: U, the singular values, V'; or the tensor.
    """

    ranks_T: npt.NDArray[np.int64]
    factors_F: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mentee:
    """The global mentee.

    Attributes:
        energy: that the clients compress with in this round.
        ranks_T: as in `Factors`.
        factors_F: as in `Factors`.
    """

    energy: float
    ranks_T: npt.NDArray[np.int64]
    factors_F: npt.NDArray[np.float32]


def build(config: Config) -> Algorithm[State, Factors, Mentee]:
    """Bind both halves to one configuration."""
    first = first_mentee(config).own()
    shapes = [tuple(parameter.shape) for parameter in first]

    def start() -> tuple[State, Mentee]:
        raw_T = np.full(len(shapes), RAW, np.int64)
        return State(0), Mentee(energy(0, config), raw_T, weights.flat(first))

    def aggregate(state: State, uploads: Sequence[Factors]) -> tuple[State, Mentee]:
        mean_P = weights.average([expanded(*arrays(upload), shapes) for upload in uploads])
        share, rounds = energy(state.rounds, config), state.rounds + 1
        packed = compressed(mean_P, shapes, share, config.repaired)
        return State(rounds), Mentee(energy(rounds, config), *packed)

    def receive(model: SplitModel, batches: Batches, broadcast: Mentee) -> None:
        weights.assign(mentee_of(model).own(), expanded(*arrays(broadcast), shapes))

    def train(model: SplitModel, batches: Batches, broadcast: Mentee) -> Factors:
        receive(model, batches, broadcast)
        learn(model, batches, config)
        trained_P = weights.flat(mentee_of(model).own())
        return Factors(*compressed(trained_P, shapes, broadcast.energy, config.repaired))

    return Algorithm(
        state=State,
        upload=Factors,
        broadcast=Mentee,
        sizes={"T": len(shapes)},
        start=start,
        aggregate=aggregate,
        check=lambda upload: check_factors(*arrays(upload), shapes),
        targets=lambda broadcast, device: None,
        loss=loss,
        train=train,
        predict=lambda model, inputs, targets: model(inputs)[1],
        equip=lambda model: equip(model, config),
        receive=receive,
    )


# ---- the client


def first_mentee(config: Config) -> SplitModel:
    """Return the mentee that every client starts with."""
    return models.build(
        config.architecture, config.shape, config.classes, config.width, config.seed
    )


def equip(model: SplitModel, config: Config) -> None:
    """Have a client keep its mentee, and W from the mentee's features to its own."""
    model.kept["mentee"] = first_mentee(config)
    with drawing(config.seed):
        model.kept["projection"] = nn.Linear(config.width, config.width, bias=False)


def mentee_of(model: SplitModel) -> SplitModel:
    """Return the mentee that a client keeps."""
    return cast(SplitModel, model.kept["mentee"])


def learn(model: SplitModel, batches: Batches, config: Config) -> None:
    """Train teacher, mentee and W in place: plain SGD on both losses, each gradient clipped."""
    mentee, projection = mentee_of(model), cast(nn.Linear, model.kept["projection"])
    groups: list[Sequence[Tensor]] = [model.own(), mentee.own(), [projection.weight]]
    rates = config.local_lr, config.mentee_lr, config.local_lr
    optimizers = [torch.optim.SGD(g, rate) for g, rate in zip(groups, rates, strict=True)]
    model.train()
    for _ in range(config.local_epochs):
        for inputs, labels_B in batches:
            model.zero_grad()
            outputs = model(inputs), mentee(inputs)
            distillation.adaptive_loss(*outputs, labels_B, projection.weight).backward()
            for group, optimizer in zip(groups, optimizers, strict=True):
                clip_grad_norm_(group, config.clip)
                optimizer.step()


def loss(forward: Forward, batch: Batch, targets: None) -> Tensor:
    """Return the teacher's cross-entropy; with its mentee, see `distillation.adaptive_loss`."""
    inputs, labels_B = batch
    return F.cross_entropy(forward(inputs)[1], labels_B)


# ---- compression, on both sides


def energy(round_number: int, config: Config) -> float:
    """Return the share of the squared singular values to keep in a round: T_s to T_e, linearly."""
    done = min(round_number / config.horizon, 1.0)
    return config.energy_start + done * (config.energy_end - config.energy_start)


def arrays(message: Factors | Mentee) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return a message's ranks (T,) and floats (F,)."""
    return message.ranks_T, message.factors_F


def compressed(
    weights_P: Array, shapes: Shapes, share: float, repaired: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the ranks (T,) and the floats (F,) that weights travel as."""
    ranks, parts = [], []
    for part, shape in zip(split(weights_P, [math.prod(s) for s in shapes]), shapes, strict=True):
        rank, floats = factored(part.reshape(shape), share, repaired)
        ranks.append(rank)
        parts.append(floats)
    return np.array(ranks, np.int64), np.concatenate(parts).astype(np.float32)


def factored(tensor: Array, share: float, repaired: bool) -> tuple[int, Array]:
    """Return a tensor's rank and its floats; `RAW` and the tensor's own where it stays whole.

    The last two axes (M, N) make matrices, which share one rank. A tensor of fewer axes, of one
    row along the first, of zeros only, or with a value that is not finite has none.
    """
    if not is_factored(tensor.shape) or not tensor.any() or not np.isfinite(tensor).all():
        return RAW, tensor.ravel()
    left, values, right = np.linalg.svd(tensor, full_matrices=False)
    rank = kept_rank(values, share, repaired)
    if repaired and length(tensor.shape, rank) >= tensor.size:
        return RAW, tensor.ravel()
    kept = left[..., :rank], values[..., :rank], right[..., :rank, :]
    return rank, np.concatenate([part.ravel() for part in kept])


def is_factored(shape: tuple[int, ...]) -> bool:
    """Tell whether a tensor of this shape is a matrix, or many, and not one row."""
    return len(shape) > 1 and shape[0] > 1


def kept_rank(values: Array, share: float, repaired: bool) -> int:
    """Return k, the fewest singular values (..., R) whose squares exceed the share of all.

    Repaired, R of them where no fewer do; as released, none of them.
    """
    squares_R = np.square(values, dtype=np.float64).reshape(-1, values.shape[-1]).sum(axis=0)
    before_R = np.cumsum(squares_R) - squares_R
    enough = np.flatnonzero(before_R > share * squares_R.sum())
    return int(enough[0]) if len(enough) else len(squares_R) * repaired


def length(shape: tuple[int, ...], rank: int) -> int:
    """Return how many floats a tensor travels as.

    Raises:
        ValueError: if a tensor of this shape has no such rank.
    """
    if rank == RAW:
        return math.prod(shape)
    if not is_factored(shape) or not 0 <= rank <= min(shape[-2:]):
        raise ValueError(f"rank {rank} of a tensor of shape {shape}")
    return math.prod(shape[:-2]) * rank * (shape[-2] + 1 + shape[-1])


def lengths(ranks_T: Array, shapes: Shapes) -> list[int]:
    """Return how many floats each tensor travels as; see `length`."""
    return [length(shape, int(rank)) for shape, rank in zip(shapes, ranks_T, strict=True)]


def check_factors(ranks_T: Array, factors_F: Array, shapes: Shapes) -> None:
    """Refuse ranks and floats that these tensors cannot have sent.

    Raises:
        ValueError: if there are other ranks than the tensors can have, or more or fewer floats.
    """
    if len(ranks_T) != len(shapes):
        raise ValueError(f"{len(ranks_T)} ranks for {len(shapes)} tensors")
    expected = sum(lengths(ranks_T, shapes))
    if expected != len(factors_F):
        raise ValueError(f"{len(factors_F)} floats where the ranks make {expected}")


def expanded(ranks_T: Array, factors_F: Array, shapes: Shapes) -> npt.NDArray[np.float32]:
    """Return the weights (P,) that ranks and floats stand for.

    Raises:
        ValueError: if they do not fit the shapes.
    """
    check_factors(ranks_T, factors_F, shapes)
    parts = split(factors_F, lengths(ranks_T, shapes))
    whole = [
        product(part, shape, int(rank)).ravel()
        for part, shape, rank in zip(parts, shapes, ranks_T, strict=True)
    ]
    return np.concatenate(whole).astype(np.float32)


def product(floats: Array, shape: tuple[int, ...], rank: int) -> Array:
    """Return U diag(values) V' of one tensor's floats; the floats themselves where they are raw."""
    if rank == RAW:
        return floats
    *many, rows, columns = shape
    sizes = (*many, rows, rank), (*many, rank), (*many, rank, columns)
    parts = split(floats, [math.prod(size) for size in sizes])
    left, values, right = (part.reshape(size) for part, size in zip(parts, sizes, strict=True))
    scaled: Array = (left * values[..., np.newaxis, :]) @ right
    return scaled


def split(array: Array, sizes: Sequence[int]) -> list[Array]:
    """Return an array's parts of these sizes, one after the other."""
    return np.split(array, np.cumsum(sizes)[:-1])
