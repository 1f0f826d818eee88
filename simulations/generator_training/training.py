"""Adversarial training of the small generator, one step at a time; stops and continues to the bit.

Non-saturating logistic losses with a lazy R1 penalty (Mescheder et al. 2018; Karras et al. 2020),
shifted images against so few (Zhao et al. 2020, differentiable augmentation), averaged weights.

Shape suffixes: N samples, Z entries of noise, Y and X pixels, K 1.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeloop.seeds import derive, drawing
from simulations.generator_training.networks import Discriminator, Generator, Sizes

PENALTY_EVERY = 16
"""Steps between two R1 penalties."""


@dataclass(frozen=True)
class GeneratorTraining:
    """How to train.

    Attributes:
        steps: in all.
        batch: images a step.
        lr: of both networks (Adam, betas 0 and 0.99).
        penalty: gamma of R1.
        shift: largest shift of an image, in pixels.
        half_life: of the averaged weights, in images.
        seed: of everything.
        sizes: of the networks.
    """

    steps: int
    batch: int = 32
    lr: float = 0.002
    penalty: float = 1.0
    shift: int = 3
    half_life: float = 10_000.0
    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes)


class Training:
    """Both networks, their optimisers, the averaged generator, and how many steps are done.

    Args:
        recipe: how to train.
        images: (N, 1, Y, X) from -1 to 1.
    """

    def __init__(self, recipe: GeneratorTraining, images: Tensor) -> None:
        self.recipe = recipe
        self.steps = 0
        self._images = images
        with drawing(derive(recipe.seed, "networks")):
            self.generator = Generator(recipe.sizes)
            self.discriminator = Discriminator(recipe.sizes)
        for network in (self.generator, self.discriminator):  # a fifth faster so, on a CPU
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads miss it
        self.averaged = copy.deepcopy(self.generator).requires_grad_(False)
        networks = self.generator, self.discriminator
        self._optimizers = [
            torch.optim.Adam(network.parameters(), lr=recipe.lr, betas=(0.0, 0.99), eps=1e-8)
            for network in networks
        ]

    def step(self) -> tuple[float, float]:
        """Take one step of each network; return the generator's and the discriminator's loss."""
        random = torch.Generator().manual_seed(derive(self.recipe.seed, "step", self.steps))
        discriminator_loss = self._judge(random)
        generator_loss = self._draw(random)
        self._average()
        self.steps += 1
        return generator_loss, discriminator_loss

    def _judge(self, random: torch.Generator) -> float:
        recipe = self.recipe
        rows = torch.randint(len(self._images), (recipe.batch,), generator=random)
        real = shift_images(self._images[rows], recipe.shift, random)
        with torch.no_grad():
            drawn = shift_images(self.generator(self._noise(random)), recipe.shift, random)
        penalised = self.steps % PENALTY_EVERY == 0
        real.requires_grad_(penalised)
        scores = self.discriminator(real)
        loss = F.softplus(-scores).mean() + F.softplus(self.discriminator(drawn)).mean()
        whole = loss
        if penalised:
            (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
            power = slope.square().sum((1, 2, 3)).mean()
            whole = loss + PENALTY_EVERY * recipe.penalty / 2 * power
        self._descend(1, whole)
        return loss.item()

    def _draw(self, random: torch.Generator) -> float:
        drawn = shift_images(self.generator(self._noise(random)), self.recipe.shift, random)
        loss = F.softplus(-self.discriminator(drawn)).mean()
        self._descend(0, loss)
        return loss.item()

    def _noise(self, random: torch.Generator) -> Tensor:
        return torch.randn(self.recipe.batch, self.recipe.sizes.noise_dim, generator=random)

    def _descend(self, which: int, loss: Tensor) -> None:
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        loss.backward()
        self._optimizers[which].step()

    @torch.no_grad()
    def _average(self) -> None:
        share = 0.5 ** (self.recipe.batch / self.recipe.half_life)
        pairs = zip(self.averaged.parameters(), self.generator.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - share)

    def save(self, path: Path) -> None:
        """Write all that the next step depends on; a crash leaves the old file or the new one."""
        building = path.with_name(f".{path.name}.new")
        torch.save(self._state(), building)
        building.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        state = torch.load(path, weights_only=True)
        self.steps = state["steps"]
        for name in ("generator", "discriminator", "averaged"):
            getattr(self, name).load_state_dict(state[name])
        for optimizer, stored in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)

    def _state(self) -> dict[str, Any]:
        names = ("generator", "discriminator", "averaged")
        networks = {name: getattr(self, name).state_dict() for name in names}
        optimizers = [optimizer.state_dict() for optimizer in self._optimizers]
        return {"steps": self.steps, **networks, "optimizers": optimizers}


def shift_images(images_NKYX: Tensor, most: int, random: torch.Generator) -> Tensor:
    """Move every image by its own whole number of pixels; what comes in is black."""
    if most == 0:
        return images_NKYX
    count, _, height, width = images_NKYX.shape
    padded = F.pad(images_NKYX, (most,) * 4, value=-1.0)
    down_N, right_N = torch.randint(2 * most + 1, (2, count), generator=random)
    rows_NY1 = (down_N[:, None] + torch.arange(height))[:, :, None]
    columns_N1X = (right_N[:, None] + torch.arange(width))[:, None, :]
    each_N11 = torch.arange(count)[:, None, None]
    return padded[each_N11, 0, rows_NY1, columns_N1X].unsqueeze(1)
