"""Searches for images that would have made the same upload.

The search goes through the logits of pixels, so that every image has pixels between 0 and 1.

Sources: squared distance, L-BFGS, searched labels: DLG (Zhu, Liu and Han, NeurIPS 2019,
arXiv:1906.08935). Cosine distance, total variation, Adam on the gradient's signs: Geiping,
Bauermeister, Droege and Moeller, NeurIPS 2020, arXiv:2003.14053.

Shape suffixes: B images, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from simulations.privacy.exposure import ObservedUpload
from simulations.privacy.similarity import as_inputs

Objective = Literal["squared", "cosine"]
MEMORY = 100
"""Steps that L-BFGS remembers."""
RATE = 0.1
LATER = (3 / 8, 5 / 8, 7 / 8)
"""After which parts of the iterations Adam's steps become ten times smaller."""


@dataclass(frozen=True)
class SearchSettings:
    """How to look.

    Attributes:
        objective: "squared", the squared distance to the upload over the upload's square, with
            L-BFGS; "cosine", one minus the cosine of the angle, with Adam on signs.
        iterations: at most.
        variation: the weight of the total variation, the mean absolute difference of neighbours.
    """

    objective: Objective = "squared"
    iterations: int = 400
    variation: float = 1e-5


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What a search ends with.

    Attributes:
        images: (B, C, H, W) in [0, 1].
        start: the images that it began with, likewise.
        labels_B: theirs.
        distance: by the search's objective, without the prior.
        evaluations: how often the objective was computed.
    """

    images: Tensor
    start: Tensor
    labels_B: Tensor
    distance: float
    evaluations: int


def invert(
    exposed: ObservedUpload, shape: tuple[int, ...], classes: int, search: SearchSettings, seed: int
) -> Reconstruction:
    """Look for the images of an upload, from random ones.

    Args:
        exposed: the upload.
        shape: of one image, channels first.
        classes: C.
        search: how.
        seed: of the first images and labels.
    """
    random = torch.Generator().manual_seed(seed)
    free = torch.randn((exposed.images, *shape), generator=random).requires_grad_(True)
    labels = torch.randn((exposed.images, classes), generator=random).requires_grad_(True)
    start = free.detach().sigmoid()
    known_BC = None if exposed.labels_B is None else F.one_hot(exposed.labels_B, classes).float()
    evaluations = 0

    def shares() -> Tensor:
        return labels.softmax(dim=1) if known_BC is None else known_BC

    def away() -> Tensor:
        nonlocal evaluations
        evaluations += 1
        made = exposed.simulate(as_inputs(free.sigmoid()), shares())
        return distance(made, exposed.upload, search.objective)

    def loss() -> Tensor:
        return away() + search.variation * total_variation(free.sigmoid())

    _minimise(loss, [free] if known_BC is not None else [free, labels], search)
    left = float(away().detach())
    return Reconstruction(free.detach().sigmoid(), start, shares().argmax(1), left, evaluations)


def distance(made: Sequence[Tensor], seen: Sequence[Tensor], objective: Objective) -> Tensor:
    """Return how far a guess's upload is from the one that was seen, a scalar; 0 if it is that."""
    length = torch.stack([each.square().sum() for each in seen]).sum()
    if objective == "squared":
        gaps = [(a - b).square().sum() for a, b in zip(made, seen, strict=True)]
        return torch.stack(gaps).sum() / length
    product = torch.stack([(a * b).sum() for a, b in zip(made, seen, strict=True)]).sum()
    mine = torch.stack([each.square().sum() for each in made]).sum()
    return 1 - product / (length * mine).sqrt()


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, down plus across, a scalar."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return down + (images[..., :, 1:] - images[..., :, :-1]).abs().mean()


def _minimise(loss: Callable[[], Tensor], free: list[Tensor], search: SearchSettings) -> None:
    if search.objective == "squared":
        _by_curvature(loss, free, search.iterations)
    else:
        _by_signs(loss, free, search.iterations)


def _by_curvature(loss: Callable[[], Tensor], free: list[Tensor], iterations: int) -> None:
    optimizer = torch.optim.LBFGS(
        free,
        max_iter=iterations,
        history_size=MEMORY,
        tolerance_grad=1e-12,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward(inputs=free)
        return value

    optimizer.step(closure)


def _by_signs(loss: Callable[[], Tensor], free: list[Tensor], iterations: int) -> None:
    optimizer = torch.optim.Adam(free, lr=RATE)
    milestones = [int(iterations * part) for part in LATER]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones)
    for _ in range(iterations):
        optimizer.zero_grad()
        loss().backward(inputs=free)
        for tensor in free:
            if tensor.grad is not None:
                tensor.grad.sign_()
        optimizer.step()
        schedule.step()
