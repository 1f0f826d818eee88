"""FedGen: the server averages heads, and trains a generator of features that the heads agree on.

Zhu, Hong and Zhou, ICML 2021. https://arxiv.org/abs/2105.10056

Differences from the released code (HtFLlib's FedGen), which the defaults follow:

- The code trains its generator every round and then loses it: its clients, and the next round's
  training, get the first one back. `persist` keeps what was learned (the variant `intended`);
  without it nothing is trained, which for everybody else is the same.
- The pool that labels are drawn from is made of the round's uploads; the code makes it once, of all
  clients. There is no exchange before round 0: a client then draws from its own labels.
- All draws come from the run's seed.

The paper's terms for diversity, and its weights for each class and client, are not in the code.

Shape suffixes: B samples of a batch, C classes, K features, N entries of noise, H hidden units and
G parameters of the generator.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop import models
from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Batches,
    Count,
    ModelConfig,
    Positive,
    check_frame_size,
)
from edgeloop.knowledge import heads, weights
from edgeloop.knowledge.heads import Head
from edgeloop.models.split import SplitModel
from edgeloop.protocol.wire import Counts
from edgeloop.seeds import derive, drawing
from edgeloop.training.sgd import cross_entropy, train_sgd

INFO = AlgorithmInfo(
    title="FedGen",
    runs_in=("simulation", "mqtt"),
    up="the head (C x K + C floats) and the number of samples of each class",
    down="the head (C x K + C floats), the generator, and the share of each class",
    paper="Zhu et al., ICML 2021, arXiv:2105.10056",
    variants={"released": {}, "intended": {"persist": True}},
    linear_head_only=True,
    numbers=("M (K + 1) C", "M ((K + 1) C + G)"),
)

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Config(ModelConfig):
    """Hyperparameters.

    Attributes:
        architecture: of the client whose first head is everybody's.
        noise_dim: dimensions of the generator's noise (N).
        hidden_dim: hidden units of the generator (H).
        persist: keep the trained generator from round to round.
        server_epochs: server steps per round, of one batch each (S).
        server_lr: learning rate of the generator (Adam).
        server_batch: batch size on the server, in labels.
    """

    noise_dim: Count = 32
    hidden_dim: Count = 512
    persist: bool = False
    server_epochs: Count = 100
    server_lr: Positive = 0.1
    server_batch: Count = 10

    @property
    def generator_weights(self) -> int:
        """G: of a linear layer, a batch normalisation, and a second linear layer."""
        inner = (self.noise_dim + self.classes + 1) * self.hidden_dim
        return inner + 2 * self.hidden_dim + (self.hidden_dim + 1) * self.width

    def __post_init__(self) -> None:
        inner = self.hidden_dim * (self.noise_dim + self.classes)
        check_frame_size(generator=inner + self.hidden_dim * self.width)


@dataclass(frozen=True, eq=False)
class HeadUpload(heads.HeadUpload):
    """One client's head after its training, and what it was trained on.

    Attributes:
        counts_C: how many samples of each class.

    Raises:
        ValueError: if a count is negative, or they are more than the samples.
    """

    counts_C: Counts

    def __post_init__(self) -> None:
        counts = [int(count) for count in self.counts_C]
        if min(counts, default=0) < 0 or sum(counts) > self.samples:
            raise ValueError("counts of samples that cannot be")


@dataclass(frozen=True, eq=False)
class State:
    """What the server keeps.

    Attributes:
        rounds: how many have gone by.
        generator_G: the generator's parameters, flattened.
    """

    rounds: int
    generator_G: Array


@dataclass(frozen=True, eq=False)
class Knowledge(Head):
    """What every client takes over: the global head, and what generated features are made of.

    Attributes:
        pool_C: each class's share of what the clients trained on; zeros where nothing is known.
        generator_G: the generator's parameters, flattened.

    Raises:
        ValueError: if a share is negative.
    """

    pool_C: Array
    generator_G: Array

    def __post_init__(self) -> None:
        if (self.pool_C < 0).any():
            raise ValueError("a negative share of samples")


def build(config: Config) -> Algorithm[State, HeadUpload, Knowledge]:
    """Bind server and client to one configuration."""
    first = Generator(config)

    def start() -> tuple[State, Knowledge]:
        nothing_C, generator_G = np.zeros(config.classes, np.float32), first.flat_parameters()
        head = heads.arrays(models.initial_model(config))
        return State(0, generator_G), Knowledge(*head, nothing_C, generator_G)

    def aggregate(state: State, uploads: Sequence[HeadUpload]) -> tuple[State, Knowledge]:
        pool_C, head, generator_G = pool(uploads), heads.average(uploads), state.generator_G
        if config.persist:
            known = first.with_parameters(generator_G)
            generator_G = train_generator(known, pool_C, head, state.rounds, config)
        knowledge = Knowledge(head.head_CK, head.bias_C, pool_C, generator_G)
        return State(state.rounds + 1, generator_G), knowledge

    def train(model: SplitModel, batches: Batches, broadcast: Knowledge) -> HeadUpload:
        generator = first.with_parameters(broadcast.generator_G).to(batches.inputs.device)
        own_C = counts(batches, config.classes)
        known = torch.tensor(broadcast.pool_C)
        made = features(generator, known if known.any() else own_C.cpu().float(), batches)
        train_sgd(
            model,
            batches,
            lambda forward, batch: cross_entropy(forward, batch) + agreement(model, *next(made)),
            epochs=config.local_epochs,
            lr=config.local_lr,
        )
        return HeadUpload(len(batches.labels), *heads.arrays(model), own_C.cpu().numpy())

    return Algorithm(
        state=State,
        upload=HeadUpload,
        broadcast=Knowledge,
        sizes={"C": config.classes, "K": config.width, "G": weights.size(first.parameters())},
        start=start,
        aggregate=aggregate,
        loss=cross_entropy,
        train=train,
        load_broadcast=heads.load_broadcast,
    )


# ---- the generator


class BatchNormalisation(nn.Module):
    """Batch normalisation that has the batch's statistics only; of a batch of one it is the shift.

    Args:
        width: H.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, hidden_BH: Tensor) -> Tensor:
        """Return (B, H)."""
        variance_H, mean_H = torch.var_mean(hidden_BH, dim=0, correction=0)
        return (hidden_BH - mean_H) / torch.sqrt(variance_H + 1e-5) * self.scale + self.shift


class Generator(nn.Module):
    """Makes features of classes and noise; its first weights are the released code's.

    Args:
        config: with the seed that they are drawn from.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.classes, self.noise_dim = config.classes, config.noise_dim
        with drawing(config.seed):
            torch.empty((), dtype=torch.int64).random_()  # its data loader draws one before
            inner = nn.Linear(config.noise_dim + config.classes, config.hidden_dim)
            outer = nn.Linear(config.hidden_dim, config.width)
        self.layers = nn.Sequential(inner, BatchNormalisation(config.hidden_dim), nn.ReLU(), outer)

    def forward(self, labels_B: Tensor, noise_BN: Tensor) -> Tensor:
        """Return features (B, K)."""
        features_BK: Tensor = self.layers(
            torch.cat([noise_BN, F.one_hot(labels_B, self.classes)], dim=1)
        )
        return features_BK

    def sample(self, pool_C: Tensor, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw labels (B,) by their classes' weights, and noise (B, N), uniform in [0, 1).

        The released code's comment calls that noise Gaussian.
        """
        labels_B = torch.multinomial(pool_C, size, replacement=True, generator=random)
        return labels_B, torch.rand(size, self.noise_dim, generator=random)

    def flat_parameters(self) -> Array:
        """Return the parameters (G,)."""
        return weights.flat(self.parameters())

    def with_parameters(self, generator_G: Array) -> "Generator":
        """Return a generator with these parameters."""
        other = copy.deepcopy(self)
        weights.assign(other.parameters(), generator_G)
        return other


# ---- the client


def counts(batches: Batches, classes: int) -> Tensor:
    """Return how many samples of each class (C,) full batches have."""
    return torch.bincount(batches.labels[: len(batches) * batches.size], minlength=classes)


@torch.no_grad()
def features(
    generator: Generator, pool_C: Tensor, batches: Batches
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield generated features (B, K) and their labels (B,), a batch's each, for ever.

    Labels and noise are drawn on the CPU, the same for every device. Nothing learns here.
    """
    random = torch.Generator().manual_seed(derive(batches.seed, "labels"))
    device = batches.inputs.device
    while True:
        labels_B, noise_BN = (
            drawn.to(device) for drawn in generator.sample(pool_C, batches.size, random)
        )
        yield generator(labels_B, noise_BN), labels_B


def agreement(model: SplitModel, features_BK: Tensor, labels_B: Tensor) -> Tensor:
    """Return the cross-entropy of generated features, a scalar; only the head learns from it.

    In training it is added to the algorithm's `loss`, the cross-entropy of a client's samples.
    """
    return F.cross_entropy(model.head(features_BK), labels_B)


# ---- the server


def pool(uploads: Sequence[HeadUpload]) -> Array:
    """Return each class's share (C,) of what the clients trained on; zeros where on nothing."""
    totals_C = np.sum([upload.counts_C for upload in uploads], axis=0, dtype=np.float64)
    shares_C: Array = (totals_C / max(totals_C.sum(), 1)).astype(np.float32)
    return shares_C


def train_generator(
    generator: Generator, pool_C: Array, head: Head, rounds: int, config: Config
) -> Array:
    """Train the generator in place against one round's heads; return its parameters (G,).

    The heads' logits are averaged, which for linear heads is the average head's logits. Where no
    client trained on anything, there are no labels to draw, and nothing is learned.
    """
    arrays = pool_C, head.head_CK, head.bias_C
    labels_C, head_CK, bias_C = (torch.tensor(array) for array in arrays)
    random = torch.Generator().manual_seed(derive(config.seed, "server", rounds))
    optimizer = torch.optim.Adam(generator.parameters(), lr=config.server_lr)
    for _ in range(config.server_epochs if labels_C.any() else 0):
        labels_B, noise_BN = generator.sample(labels_C, config.server_batch, random)
        logits_BC = F.linear(generator(labels_B, noise_BN), head_CK, bias_C)
        optimizer.zero_grad()
        F.cross_entropy(logits_BC, labels_B).backward()
        optimizer.step()
    return generator.flat_parameters()
