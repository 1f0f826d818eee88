"""FedKTL: the knowledge of a server's pre-trained generator, for clients with models of their own.

Zhang, Liu, Hua and Cao, CVPR 2024. https://arxiv.org/abs/2403.15760

A client learns with a fixed ETF classifier (`knowledge.etf`) and uploads one unit vector a class.
The server learns to turn those into latents of its generator (`knowledge.alignment`), and sends
back an image-latent pair a class (`knowledge.latent_pairs`); the clients' features learn to tell an
image's latent. With a single client it is cloud-edge knowledge transfer.

Differences from the released code (FedKTL and HtFLlib), which the defaults follow:

- arccos never sees a cosine outside its range, where the code can give NaN.
- The frame, the initial projections, shuffles and prior latents come from the run's seed, the
  frame in double precision.
- Latents travel in half precision and images as bytes; an image is made from the latent that
  travels, as the generator normalises it.
- With `transfer` 0 ("ETF only") the server learns nothing: nobody would look at its pairs.

The paper's text differs from the code in what the latent centroids are: variant `paper`.

Shape suffixes: B samples of a batch, N prototypes or pairs, C classes (also the dimensions of the
frame), K features, H entries of a latent, P entries of one input.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop.algorithm import (
    Algorithm,
    AlgorithmInfo,
    Batch,
    Batches,
    CollectedOutputs,
    Count,
    Forward,
    NotNegative,
    Positive,
    Recipe,
    TrainingConfig,
    UploadKind,
    check_frame_size,
)
from edgeloop.errors import GeneratorError
from edgeloop.generator import Generator, check_identity
from edgeloop.hyperparameters import Centroids
from edgeloop.knowledge import alignment, etf, latent_pairs, mmd, prototypes, sample_statistics
from edgeloop.knowledge.alignment import AlignmentTraining, State
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.knowledge.sample_statistics import SampleStatistics
from edgeloop.seeds import derive, drawing

INFO = AlgorithmInfo(
    title="FedKTL",
    runs_in=("simulation", "mqtt"),
    up="one unit vector (C floats) for each class of the client",
    down="one generated image and its latent (H floats) for every class",
    paper="Zhang et al., CVPR 2024, arXiv:2403.15760",
    variants={
        "released": {},
        "paper": {"centroids": "means"},
        "stylegan3": {"anchor": 0.1},
        "stable-diffusion": {"anchor": 0.01, "transfer": 100.0, "server_lr": 0.1},
    },
    generator=True,
    retired_options={
        "statistics": "leave it out: free centroids need none, and those of centroids = means are"
        " exact (with running ones they collapsed)"
    },
    upload=UploadKind("directions", "after"),
    numbers=("C S", "M C (P + H)"),
    # Its weights of the transfer and of the centroids, and how long its server learns a round; a
    # transfer of 0 is its classifier alone.
    tuned={"transfer": (0.0, 1.0, 5.0, 50.0), "anchor": (0.1, 1.0), "server_epochs": (20, 100)},
    generator_options=(
        "anchor",
        "bandwidth",
        "centroids",
        "server_batch",
        "server_epochs",
        "server_lr",
    ),
)


@dataclass(frozen=True)
class Config(TrainingConfig):
    """Hyperparameters; the defaults are the released code's with StyleGAN-XL.

    Attributes:
        shape: of one input, channels first.
        latent_dim: H, the generator's.
        generator_sha256: its identity; empty for none, which is enough where `transfer` is 0.
        transfer: weight of the clients' transfer loss (mu).
        pair_batch: pairs of image and latent for each local batch.
        margin: margin of the clients' loss, in radians (m).
        scale: scale of the clients' loss (s).
        clip: largest norm of a gradient, on clients and server.
        server_epochs: server epochs per round (S).
        server_lr: learning rate of the server (Adam).
        server_batch: batch size on the server, in prototypes.
        anchor: weight of the distance of latents to their class's centroid (lambda).
        bandwidth: kernel widths: "fixed", the released ones; or "median", which follow the median
            distance. Use "median" for latents of thousands of entries, for which the fixed ones
            have no gradient.
        centroids: latents that images are made from: "free", an embedding that the server moves
            towards the latents of its class; or "means", the mean latents of the classes.
    """

    shape: tuple[int, ...] = (3, 32, 32)
    latent_dim: Count = 1
    generator_sha256: str = ""
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
    centroids: Centroids = "free"

    def __post_init__(self) -> None:
        check_frame_size(
            frame=self.classes**2,
            guess=self.latent_dim * self.width,
            latents=self.latent_dim * self.classes,
        )

    @property
    def needs_generator(self) -> bool:
        """Whether anybody looks at what the generator makes."""
        return self.transfer > 0


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
    """Bind server and client to one configuration; the server's part needs the generator.

    Raises:
        GeneratorError: if the generator is another one than the configuration's.
    """
    if generator is not None:
        check_identity(generator, config.generator_sha256)
    recipe = client_recipe(config)
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
        start=lambda: (initial_state(config), no_pairs(config)),
        aggregate=partial(aggregate, config, generator),
        check=lambda upload: prototypes.check_labels(upload, config.classes),
        recipe=recipe,
        predict=lambda model, inputs, goal: etf.cosines(model(inputs)[1], goal.frame_CC),
        round_metrics=lambda _, state, broadcast: round_metrics(state, broadcast, config),
        metric_warnings=metric_warnings,
    )


# ---- the client


def client_recipe(config: Config) -> Recipe[PrototypeUpload, Pairs]:
    """Return a client's round: the margin loss on the frame, and the transfer loss on the pairs."""
    frame_CC = etf.frame(config.classes, derive(config.seed, "frame"))

    def goal(broadcast: Pairs, device: torch.device) -> Goal:
        images_N, latents_NH = latent_pairs.as_tensors(broadcast, config.shape, device)
        guess = (parameter.to(device) for parameter in initial_guess(config))
        return Goal(frame_CC.to(device), images_N, latents_NH, *guess)

    def loss(forward: Forward, batch: Batch, goal: Goal) -> Tensor:
        inputs, labels_B = batch
        cosines_BC = etf.cosines(forward(inputs)[1], goal.frame_CC)
        own = etf.arcface_loss(cosines_BC, labels_B, config.margin, config.scale)
        return own if not len(goal.images_N) else own + config.transfer * transfer(forward, goal)

    return Recipe(
        targets=goal,
        loss=loss,
        epochs=config.local_epochs,
        lr=config.local_lr,
        collect="logits",
        collect_at="after",
        upload=lambda model, batches, seen: upload_of(seen, batches, config.classes),
        clip=config.clip,
        extra_params=lambda goal: GUESS if len(goal.images_N) and config.transfer else (),
        step_inputs=lambda goal, seed: latent_pairs.sample_pairs(
            goal.images_N, goal.latents_NH, config.pair_batch, seed
        ),
    )


def initial_guess(config: Config) -> tuple[Tensor, Tensor]:
    """Draw the layer (H, K), (H,) from features to latents; every round begins with it."""
    with drawing(derive(config.seed, "guess")):
        layer = nn.Linear(config.width, config.latent_dim)
    return layer.weight.detach(), layer.bias.detach()


def transfer(forward: Forward, goal: Goal) -> Tensor:
    """Return the transfer loss, a scalar: how well features of images tell their latents."""
    features_NK, _ = forward(goal.images_N)
    return F.mse_loss(F.linear(features_NK, goal.guess_HK, goal.guess_H), goal.latents_NH)


def upload_of(seen: CollectedOutputs, batches: Batches, classes: int) -> PrototypeUpload:
    """Return the mean direction of each class, of length 1, from the trained weights' logits."""
    units = [(F.normalize(logits_NC, dim=1), labels_N) for logits_NC, labels_N in seen]
    upload = prototypes.upload_collected(None, batches, units, classes=classes, width=classes)
    unit_NC = F.normalize(torch.from_numpy(upload.prototypes_ND), dim=1)
    return replace(upload, prototypes_ND=unit_NC.numpy())


# ---- the server


def no_pairs(config: Config) -> Pairs:
    """Return the broadcast of a round that nothing has been learned before."""
    return latent_pairs.no_pairs(config.shape, config.latent_dim)


def initial_state(config: Config) -> State:
    """Draw the transformer's first weights, and standard normal centroids."""
    return alignment.initial_state(config.classes, config.latent_dim, config.seed)


def aggregate(
    config: Config, generator: Generator | None, state: State, uploads: Sequence[PrototypeUpload]
) -> tuple[State, Pairs]:
    """Align one round's prototypes, and have the generator make every class's image.

    Raises:
        GeneratorError: if there is no generator, or it cannot be reached, or is another one by now.
    """
    if not config.needs_generator:
        return replace(state, rounds=state.rounds + 1), no_pairs(config)
    if generator is None:
        raise GeneratorError("generator", "the server has none", "name one")
    if not state.rounds:
        seed = derive(config.seed, "yardstick")
        own = sample_statistics.measure_generator(generator, config.shape, seed)
        state = replace(state, **{f"own_{name}": value for name, value in own._asdict().items()})
    labels_N, _, prototypes_NC = prototypes.concatenated(uploads)
    state = alignment.align(state, prototypes_NC, labels_N, generator, server_training(config))
    return state, latent_pairs.generate_pairs(state.centroids_CH, generator, config.shape)


def server_training(config: Config) -> AlignmentTraining:
    """Return how the server learns."""
    return AlignmentTraining(
        epochs=config.server_epochs,
        lr=config.server_lr,
        batch=config.server_batch,
        clip=config.clip,
        anchor=config.anchor,
        widths=mmd.FIXED if config.bandwidth == "fixed" else None,
        centroids=config.centroids,
        seed=config.seed,
    )


def round_metrics(state: State, broadcast: Pairs, config: Config) -> dict[str, float]:
    """Return the server's two losses, and classes' latents and images beside the generator's own.

    Nothing, where nothing is sent back.
    """
    if not len(broadcast.images_NP):
        return {}
    own = SampleStatistics(*(getattr(state, f"own_{name}") for name in SampleStatistics._fields))
    images = broadcast.images_NP.reshape(-1, *config.shape)
    found = sample_statistics.measure(state.centroids_CH, images)
    return {
        **alignment.round_metrics(state),
        **sample_statistics.relative_to(found, own, config.classes),
    }


def metric_warnings(measures: Mapping[str, float]) -> dict[str, str]:
    """Return what is wrong with a round's result, a sentence each, by a short name."""
    return (
        {**alignment.metric_warnings(measures), **sample_statistics.metric_warnings(measures)}
        if measures
        else {}
    )
