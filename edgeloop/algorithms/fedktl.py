"""FedKTL: the knowledge of a server's pre-trained generator, for clients with models of their own.

Zhang, Liu, Hua and Cao, CVPR 2024. https://arxiv.org/abs/2403.15760

A client learns with a fixed ETF classifier and uploads one unit vector a class. The server learns
to turn those into latents of its generator, and sends back an image-latent pair a class; the
clients' features learn to tell an image's latent. With a single client it is cloud-edge knowledge
transfer.

Differences from the released code (FedKTL and HtFLlib), which the other defaults follow:

- Latents are made with exact statistics in the server's batch normalisation (`statistics`).
  Running ones lag behind the weights, at first by more than the classes' prototypes differ: then
  all classes get one latent, far from the prior, where the discrepancy has no gradient back.
- arccos never sees a cosine outside its range, where the code can give NaN; a latent that is not
  finite does not replace its class's last one.
- The frame, the initial projections, shuffles and prior latents come from the run's seed, the
  frame in double precision.
- Latents travel in half precision and images as bytes; an image is made from the latent that
  travels, as the generator normalises it.
- With `transfer` 0 ("ETF only") the server learns nothing: nobody would look at its pairs.

Shape suffixes: B samples of a batch, N prototypes or pairs, C classes (also the dimensions of the
frame), K features, H entries of a latent, P entries of one input.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop import etf, mmd, prototypes
from edgeloop.algorithm import (
    Algorithm,
    Batch,
    Batches,
    Card,
    Count,
    Forward,
    NotNegative,
    Positive,
    Recipe,
    Seen,
    check_fits,
)
from edgeloop.errors import GeneratorError
from edgeloop.generator import Generator, as_inputs
from edgeloop.prototypes import PrototypeUpload
from edgeloop.seeds import derive, drawing
from edgeloop.training import follow

CARD = Card(
    title="FedKTL",
    runs=("simulation", "mqtt"),
    up="one unit vector (C floats) for each class of the client",
    down="one generated image and its latent (H floats) for every class",
    paper="Zhang et al., CVPR 2024, arXiv:2403.15760",
    variants={
        "released": {},
        "stylegan3": {"anchor": 0.1},
        "stable-diffusion": {"anchor": 0.01, "transfer": 100.0, "server_lr": 0.1},
    },
    generator=True,
)


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the released code's with StyleGAN-XL.

    Attributes:
        classes: C.
        width: K, the unified feature width.
        shape: of one input, channels first.
        latent_dim: H, the generator's.
        generator_sha256: its identity; empty for none, which is enough where `transfer` is 0.
        seed: the run's seed.
        local_epochs: E, epochs of a client a round.
        local_lr: eta, the clients' learning rate.
        transfer: mu, the weight of the clients' transfer loss.
        pair_batch: pairs beside each local batch.
        margin: m of the clients' margin loss, radians.
        scale: s of the clients' margin loss.
        clip: the largest norm of a gradient, on both sides.
        server_epochs: S, epochs of the server a round.
        server_lr: the server's learning rate (Adam).
        server_batch: prototypes a batch on the server.
        anchor: lambda, the weight of the distance of latents to their class's centroid.
        bandwidth: "fixed", the released kernel widths; or "median", widths that follow the median
            distance: for latents of thousands of entries, where fixed ones have no gradient.
        statistics: that the server's batch normalisation makes latents with: "exact", those of the
            round's prototypes with the weights of the moment; or "running", the released code's.
    """

    classes: Count
    width: Count
    shape: tuple[int, ...] = (3, 32, 32)
    latent_dim: Count = 1
    generator_sha256: str = ""
    seed: int = 0
    local_epochs: Count = 1
    local_lr: Positive = 0.01
    transfer: NotNegative = 50.0
    pair_batch: Count = 10
    margin: NotNegative = 0.5
    scale: Positive = 64.0
    clip: Positive = 100.0
    server_epochs: Count = 100
    server_lr: Positive = 0.01
    server_batch: Count = 100
    anchor: NotNegative = 1.0
    bandwidth: Literal["fixed", "median"] = "fixed"
    statistics: Literal["exact", "running"] = "exact"

    def __post_init__(self) -> None:
        check_fits(
            frame=self.classes**2,
            guess=self.latent_dim * self.width,
            latents=self.latent_dim * self.classes,
        )

    @property
    def needs_generator(self) -> bool:
        """Whether anybody looks at what the generator makes."""
        return self.transfer > 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """What the generator says of the classes: an image and its latent each; none at first.

    Attributes:
        images_NP: pixels of one input, flattened; class n's in row n.
        latents_NH: the latents that the images were made from.
    """

    images_NP: npt.NDArray[np.uint8]
    latents_NH: npt.NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class State:
    """The feature transformer and the latent centroids.

    Attributes:
        rounds: how often they have learned.
        discrepancy: the MMD in the last batch; both losses must become small.
        distance: the mean squared distance of a latent to its class's centroid in that batch.
        inner_CC: the first layer's weight; then its bias, and batch normalisation's parameters.
        outer_HC: the second layer's weight; then its bias.
        centroids_CH: the latent of each class.
    """

    rounds: int
    discrepancy: float
    distance: float
    inner_CC: npt.NDArray[np.float32]
    inner_C: npt.NDArray[np.float32]
    scale_C: npt.NDArray[np.float32]
    shift_C: npt.NDArray[np.float32]
    mean_C: npt.NDArray[np.float32]
    variance_C: npt.NDArray[np.float32]
    outer_HC: npt.NDArray[np.float32]
    outer_H: npt.NDArray[np.float32]
    centroids_CH: npt.NDArray[np.float32]


class Goal(NamedTuple):
    """What a client's loss needs besides its own batch."""

    frame_CC: Tensor
    images_N: Tensor
    latents_NH: Tensor
    guess_HK: Tensor
    guess_H: Tensor


GUESS = ("guess_HK", "guess_H")
"""What of a goal learns with the client's model."""


def build(
    config: Config, generator: Generator | None = None
) -> Algorithm[State, PrototypeUpload, Pairs]:
    """Bind both halves to one configuration; the server's half needs the generator.

    Raises:
        GeneratorError: if the generator is another one than the configuration's.
    """
    if generator is not None:
        check_generator(config, generator)
    frame_CC = etf.frame(config.classes, derive(config.seed, "frame"))

    def aggregate(state: State, uploads: Sequence[PrototypeUpload]) -> tuple[State, Pairs]:
        if not config.needs_generator:
            return replace(state, rounds=state.rounds + 1), no_pairs(config)
        if generator is None:
            raise GeneratorError("generator", "the server has none", "name one")
        labels_N, _, prototypes_NC = prototypes.stacked(uploads)
        state = align(state, prototypes_NC, labels_N, generator, config)
        return state, pairs(state, generator, config)

    def goal(broadcast: Pairs, device: torch.device) -> Goal:
        images_N = torch.tensor(broadcast.images_NP, device=device).view(-1, *config.shape)
        latents_NH = torch.tensor(broadcast.latents_NH, device=device).float()
        guess = (parameter.to(device) for parameter in first_guess(config))
        return Goal(frame_CC.to(device), as_model_input(images_N), latents_NH, *guess)

    def loss(forward: Forward, batch: Batch, goal: Goal) -> Tensor:
        inputs, labels_B = batch
        cosines_BC = etf.cosines(forward(inputs)[1], goal.frame_CC)
        own = etf.arcface_loss(cosines_BC, labels_B, config.margin, config.scale)
        return own if not len(goal.images_N) else own + config.transfer * transfer(forward, goal)

    recipe = Recipe[PrototypeUpload, Pairs](
        targets=goal,
        loss=loss,
        epochs=config.local_epochs,
        lr=config.local_lr,
        sees="logits",
        when="after",
        upload=lambda model, batches, seen: upload_of(seen, batches, config.classes),
        clip=config.clip,
        learns=lambda goal: GUESS if len(goal.images_N) and config.transfer else (),
        steps=lambda goal, seed: pair_batches(goal, config.pair_batch, seed),
    )

    return Algorithm(
        state=State,
        upload=PrototypeUpload,
        broadcast=Pairs,
        sizes={
            "C": config.classes,
            "D": config.classes,
            "H": config.latent_dim,
            "P": math.prod(config.shape),
        },
        start=lambda: (first_state(config), no_pairs(config)),
        aggregate=aggregate,
        check=lambda upload: prototypes.check_labels(upload, config.classes),
        targets=goal,
        loss=loss,
        train=partial(follow, recipe),
        recipe=recipe,
        predict=lambda model, inputs, goal: etf.cosines(model(inputs)[1], goal.frame_CC),
        measures=lambda _, state, __: {
            "discrepancy": state.discrepancy,
            "distance": state.distance,
        },
    )


def check_generator(config: Config, generator: Generator) -> None:
    """Refuse another generator than was agreed on.

    Raises:
        GeneratorError: naming both.
    """
    if generator.identity != config.generator_sha256:
        problem = (
            f"is another one ({generator.identity[:12]}) than the run began with "
            f"({config.generator_sha256[:12] or 'none'})"
        )
        raise GeneratorError("generator", problem, "bring the old one back, or start a new run")


# ---- the client


def as_model_input(images_N: Tensor) -> Tensor:
    """Return pixels as a model reads them, in [-1, 1]."""
    inputs_N = images_N.float() / 127.5 - 1
    return (
        inputs_N.contiguous(memory_format=torch.channels_last) if inputs_N.ndim == 4 else inputs_N
    )


def first_guess(config: Config) -> tuple[Tensor, Tensor]:
    """Draw the layer (H, K), (H,) from features to latents; every round begins with it."""
    with drawing(derive(config.seed, "guess")):
        layer = nn.Linear(config.width, config.latent_dim)
    return layer.weight.detach(), layer.bias.detach()


def transfer(forward: Forward, goal: Goal) -> Tensor:
    """Return the transfer loss, a scalar: how well features of images tell their latents."""
    features_NK, _ = forward(goal.images_N)
    return F.mse_loss(F.linear(features_NK, goal.guess_HK, goal.guess_H), goal.latents_NH)


def pair_batches(goal: Goal, size: int, seed: int) -> Iterator[Mapping[str, Tensor]]:
    """Yield a few of a goal's pairs, as its fields, for ever; each pass in an order of its own.

    A last part that is one pair only joins the part before: batch normalisation needs two.
    """
    random = torch.Generator().manual_seed(derive(seed, "pairs"))
    count = len(goal.images_N)
    while True:
        order_N = torch.randperm(count, generator=random)
        for rows in order_N.split(_sizes(count, size)) if count else [order_N]:
            picked = rows.to(goal.images_N.device)
            yield {
                "images_N": goal.images_N[picked],
                "latents_NH": goal.latents_NH[picked],
            }


def _sizes(count: int, size: int) -> list[int]:
    sizes = [min(size, count - start) for start in range(0, count, size)]
    return [*sizes[:-2], sizes[-2] + 1] if len(sizes) > 1 and sizes[-1] == 1 < size else sizes


def upload_of(seen: Seen, batches: Batches, classes: int) -> PrototypeUpload:
    """Return the mean direction of each class, of length 1, from the trained weights' logits."""
    units = [(F.normalize(logits_NC, dim=1), labels_N) for logits_NC, labels_N in seen]
    upload = prototypes.upload_seen(None, batches, units, classes=classes, width=classes)
    unit_NC = F.normalize(torch.from_numpy(upload.prototypes_ND), dim=1)
    return replace(upload, prototypes_ND=unit_NC.numpy())


# ---- the server

LAYERS = (
    *("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"),
    *("3.weight", "3.bias"),
)
"""The transformer's tensors, in the order of the state's arrays."""


def no_pairs(config: Config) -> Pairs:
    """Return the broadcast of a round that nothing has been learned before."""
    inputs = math.prod(config.shape)
    return Pairs(np.zeros((0, inputs), np.uint8), np.zeros((0, config.latent_dim), np.float16))


def transformer(config: Config) -> nn.Sequential:
    """Return the feature transformer, from a class's direction (C) to a latent (H)."""
    return nn.Sequential(
        nn.Linear(config.classes, config.classes),
        nn.BatchNorm1d(config.classes),
        nn.ReLU(),
        nn.Linear(config.classes, config.latent_dim),
    )


def first_state(config: Config) -> State:
    """Draw the transformer's first weights, and standard normal centroids."""
    with drawing(derive(config.seed, "server")):
        network = transformer(config)
        centroids_CH = torch.randn(config.classes, config.latent_dim)
    return stored(network, centroids_CH, 0, (0.0, 0.0))


def stored(
    network: nn.Sequential, centroids_CH: Tensor, rounds: int, losses: tuple[float, float]
) -> State:
    """Return a network's weights and the centroids as a state."""
    weights = network.state_dict()
    tensors = [*(weights[name].clone() for name in LAYERS), centroids_CH]
    arrays: list[npt.NDArray[np.float32]] = [tensor.numpy() for tensor in tensors]
    return State(rounds, losses[0], losses[1], *arrays)


def restored(state: State, config: Config) -> tuple[nn.Sequential, Tensor]:
    """Return the network and the centroids of a state."""
    network = transformer(config)
    arrays = (
        *(state.inner_CC, state.inner_C, state.scale_C, state.shift_C),
        *(state.mean_C, state.variance_C, state.outer_HC, state.outer_H),
    )
    tensors = {name: torch.tensor(array) for name, array in zip(LAYERS, arrays, strict=True)}
    network.load_state_dict(tensors, strict=False)  # its count of batches is not used
    return network, torch.tensor(state.centroids_CH)


def align(
    state: State, prototypes_NC: Tensor, labels_N: Tensor, generator: Generator, config: Config
) -> State:
    """Learn to turn one round's prototypes into the generator's latents; return the new state."""
    network, centroids_CH = restored(state, config)
    settle(network, prototypes_NC, config)
    centroids_CH = class_latents(network, prototypes_NC, labels_N, centroids_CH)
    network.train()
    groups: list[list[Tensor]] = [
        list(network.parameters()),
        [centroids_CH.requires_grad_(True)],
    ]
    optimizers = [torch.optim.Adam(group, lr=config.server_lr) for group in groups]
    losses = state.discrepancy, state.distance
    for batch in server_batches(prototypes_NC, labels_N, state.rounds, generator, config):
        away, apart = alignment(network, centroids_CH, *batch, config)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (away + config.anchor * apart).backward()
        for group, optimizer in zip(groups, optimizers, strict=True):
            nn.utils.clip_grad_norm_(group, config.clip)
            optimizer.step()
        losses = away.item(), apart.item()
    settle(network, prototypes_NC, config)
    learned_CH = class_latents(network, prototypes_NC, labels_N, centroids_CH.detach())
    return stored(network, learned_CH, state.rounds + 1, losses)


def server_batches(
    prototypes_NC: Tensor, labels_N: Tensor, round_number: int, generator: Generator, config: Config
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield prototypes, labels and as many latents of the prior, batch by batch, for S epochs.

    A batch of one is left out: batch normalisation cannot learn from it.
    """
    count, size = len(labels_N), config.server_batch
    for epoch in range(config.server_epochs if count > 1 else 0):
        seed = derive(config.seed, "server", round_number, epoch)
        order_N = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        prior_NH = torch.from_numpy(generator.sample_latents(count, seed))
        for rows, prior_BH in zip(order_N.split(size), prior_NH.split(size), strict=True):
            if len(rows) > 1:
                yield prototypes_NC[rows], labels_N[rows], prior_BH


def alignment(
    network: nn.Module,
    centroids_CH: Tensor,
    prototypes_BC: Tensor,
    labels_B: Tensor,
    prior_BH: Tensor,
    config: Config,
) -> tuple[Tensor, Tensor]:
    """Return how far latents are from the generator's prior, and from their classes' centroids."""
    latents_BH = network(prototypes_BC)
    widths = mmd.FIXED if config.bandwidth == "fixed" else None
    away = mmd.discrepancy(latents_BH, prior_BH, widths)
    return away, F.mse_loss(latents_BH, centroids_CH[labels_B])


@torch.no_grad()
def class_latents(
    network: nn.Module, prototypes_NC: Tensor, labels_N: Tensor, centroids_CH: Tensor
) -> Tensor:
    """Return each class's mean latent (C, H); the one it had, where there is no new finite one."""
    network.eval()
    latents_NH = network(prototypes_NC)
    means_CH, counts_C = prototypes.class_means(latents_NH, labels_N, len(centroids_CH))
    new_C = (counts_C > 0) & means_CH.isfinite().all(1)
    return torch.where(new_C.unsqueeze(1), means_CH, centroids_CH)


@torch.no_grad()
def settle(network: nn.Sequential, prototypes_NC: Tensor, config: Config) -> None:
    """Have the batch normalisation subtract and divide by what these very prototypes have."""
    if config.statistics == "exact" and len(prototypes_NC):
        layer = cast(nn.BatchNorm1d, network[1])
        variance_C, mean_C = torch.var_mean(network[0](prototypes_NC), dim=0, correction=0)
        cast(Tensor, layer.running_mean).copy_(mean_C)
        cast(Tensor, layer.running_var).copy_(variance_C)


def pairs(state: State, generator: Generator, config: Config) -> Pairs:
    """Have the generator make every class's image."""
    largest = np.finfo(np.float16).max
    latents_CH = generator.normalise(state.centroids_CH).clip(-largest, largest).astype(np.float16)
    images = as_inputs(generator.synthesize(latents_CH.astype(np.float32)), config.shape)
    return Pairs(images.reshape(len(images), -1), latents_CH)
