"""FedKD: a client's model teaches a small shared one, which travels compressed, and learns from it.

Wu, Wu, Lyu, Huang and Xie, Nature Communications 2022. https://arxiv.org/abs/2108.13323

Differences from the released code (HtFLlib's FedKD), which the defaults follow:

- The code never keeps a matrix whole: where all ranks but the full one have too little energy it
  keeps rank 0, that is zeros. It strikes matrices with few or flat singular values, for instance
  all 1 x n kernels. The variant `repaired` keeps those whole, and sends a tensor raw where its
  factors would be longer.
- Weights that are not finite are sent raw, where the code's decomposition fails.
- The loss divides by at least 1e-8; the code gives NaN once both models have loss 0.
- The energy stops at its end where a run continues beyond `horizon`, the code's number of rounds
  (2000 in its scripts, whenever they stop).
- The first mentee travels too, raw; in the code every client is made with it.

As there, the divergence is divided by classes too, nothing is held fixed, clients count alike, and
what batch normalisation counts stays with the client.

Shape suffixes: P parameters, F floats that travel, T tensors, K features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from edgeloop import models
from edgeloop.algorithm import Algorithm, AlgorithmInfo, Batches, Count, ModelConfig, Positive
from edgeloop.knowledge import low_rank, mutual_distillation, weights
from edgeloop.models.split import SplitModel
from edgeloop.seeds import drawing
from edgeloop.training import losses
from edgeloop.training.sgd import cross_entropy, descend

INFO = AlgorithmInfo(
    title="FedKD",
    runs_in=("simulation", "mqtt"),
    up="the mentee's weights as the factors of a singular value decomposition",
    down="the same",
    paper="Wu et al., Nature Communications 2022, arXiv:2108.13323",
    variants={"released": {}, "repaired": {"repaired": True}},
    plain_sgd=True,
)

Energy = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        architecture: of the mentee.
        seed: the run's seed; the mentee's and W's first weights are drawn from it.
        local_lr: learning rate of the teacher and of W (eta).
        mentee_lr: learning rate of the mentee.
        clip: largest norm of the gradients of the teacher, the mentee and W.
        energy_start: share of a matrix's squared singular values that is kept in round 0 (T_s).
        energy_end: share that is kept in round T (T_e).
        horizon: round at which that share reaches its end value (T).
        repaired: keep the full rank where no lower one is enough, and send a matrix unfactored
            where that is shorter.
    """

    mentee_lr: Positive = 0.01
    clip: Positive = 10.0
    energy_start: Energy = 0.95
    energy_end: Energy = 0.98
    horizon: Count = 2000
    repaired: bool = False


@dataclass(frozen=True)
class State:
    """How many rounds have gone by; the mentee is made again each round."""

    rounds: int


@dataclass(frozen=True, eq=False)
class Factors:
    """One client's mentee.

    Attributes:
        ranks_T: how many singular values of each tensor are kept; `low_rank.RAW` for all of it.
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
    """Bind server and client to one configuration."""
    first = models.initial_model(config).own()
    shapes = [tuple(parameter.shape) for parameter in first]

    def start() -> tuple[State, Mentee]:
        raw_T = np.full(len(shapes), low_rank.RAW, np.int64)
        return State(0), Mentee(energy(0, config), raw_T, weights.flat(first))

    def aggregate(state: State, uploads: Sequence[Factors]) -> tuple[State, Mentee]:
        mean_P = weights.average([low_rank.reconstruct(*arrays(each), shapes) for each in uploads])
        share, rounds = energy(state.rounds, config), state.rounds + 1
        packed = low_rank.compress(mean_P, shapes, share, config.repaired)
        return State(rounds), Mentee(energy(rounds, config), *packed)

    def unpacked(upload: Factors) -> Factors:
        whole_P = low_rank.reconstruct(*arrays(upload), shapes)
        return Factors(np.full(len(shapes), low_rank.RAW, np.int64), whole_P)

    def load_broadcast(model: SplitModel, batches: Batches, broadcast: Mentee) -> None:
        weights.assign(mentee_of(model).own(), low_rank.reconstruct(*arrays(broadcast), shapes))

    def train(model: SplitModel, batches: Batches, broadcast: Mentee) -> Factors:
        load_broadcast(model, batches, broadcast)
        train_mutually(model, batches, config)
        trained_P = weights.flat(mentee_of(model).own())
        return Factors(*low_rank.compress(trained_P, shapes, broadcast.energy, config.repaired))

    return Algorithm(
        state=State,
        upload=Factors,
        broadcast=Mentee,
        sizes={"T": len(shapes)},
        start=start,
        aggregate=aggregate,
        unpacked=unpacked,
        check=lambda upload: low_rank.check_factors(*arrays(upload), shapes),
        loss=cross_entropy,
        train=train,
        init_client_state=lambda model: init_client_state(model, config),
        load_broadcast=load_broadcast,
    )


# ---- the client


def init_client_state(model: SplitModel, config: Config) -> None:
    """Have a client keep its mentee, and W from the mentee's features to its own."""
    model.kept["mentee"] = models.initial_model(config)
    with drawing(config.seed):
        model.kept["projection"] = nn.Linear(config.width, config.width, bias=False)


def mentee_of(model: SplitModel) -> SplitModel:
    """Return the mentee that a client keeps."""
    return cast(SplitModel, model.kept["mentee"])


def train_mutually(model: SplitModel, batches: Batches, config: Config) -> None:
    """Train teacher, mentee and W in place: plain SGD on both losses, each gradient clipped.

    The algorithm's `loss` is the teacher's cross-entropy alone.
    """
    mentee, projection = mentee_of(model), cast(nn.Linear, model.kept["projection"])
    groups: list[Sequence[Tensor]] = [model.own(), mentee.own(), [projection.weight]]
    rates = config.local_lr, config.mentee_lr, config.local_lr
    model.train()
    for epoch in range(config.local_epochs):
        for inputs, labels_B in batches.epoch(epoch):
            model.zero_grad()
            outputs = model(inputs), mentee(inputs)
            loss = mutual_distillation.adaptive_loss(*outputs, labels_B, projection.weight)
            loss.backward()
            losses.note(loss)
            for group, rate in zip(groups, rates, strict=True):
                clip_grad_norm_(group, config.clip)
                descend(group, rate)


# ---- what travels


def energy(round_number: int, config: Config) -> float:
    """Return the share of the squared singular values to keep in a round: T_s to T_e, linearly."""
    done = min(round_number / config.horizon, 1.0)
    return config.energy_start + done * (config.energy_end - config.energy_start)


def arrays(message: Factors | Mentee) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return a message's ranks (T,) and floats (F,)."""
    return message.ranks_T, message.factors_F
