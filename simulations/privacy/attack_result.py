"""One attack's outcome: the numbers, and the images they are of, in a file.

Shape suffixes: B victims, R reconstructions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from edgeloop.algorithm_info import UploadKind
from edgeloop.errors import RunError
from edgeloop.runtime import atomic_files
from simulations.privacy.inversion import Reconstruction
from simulations.privacy.similarity import as_pixels, match_pairs, mean_of, psnr, ssim
from simulations.privacy.victims import Victims

MEASURES = (
    *("psnr", "psnr_others", "psnr_class_mean", "psnr_start"),
    *("ssim", "identified", "identified_by_chance"),
)
"""The keys of `AttackResult.facts` that are numbers of images; docs/privacy.md defines them."""


@dataclass(frozen=True, eq=False)
class AttackResult:
    """One attack.

    Attributes:
        facts: numbers by name.
        originals: (R, C, H, W) in [0, 1], the victim that each reconstruction is compared with.
        reconstructions: (R, C, H, W) in [0, 1].
    """

    facts: Mapping[str, Any]
    originals: Tensor
    reconstructions: Tensor


def measure_attack(
    victims: Victims, found: Reconstruction, shared: UploadKind, seconds: float
) -> AttackResult:
    """Compare what was found with the victims, and the controls with them too.

    Where weights travel, each reconstruction is of one victim. A prototype's is of the class:
    it counts as what it is most like among those that the prototype is the mean of, and so do the
    controls.
    """
    real = as_pixels(victims.inputs)
    scores_RB = psnr(found.images, real)
    own_R = match_pairs(scores_RB) if shared.of_weights else scores_RB.argmax(dim=1).tolist()
    originals = real[own_R]
    targets = [real[own : own + 1] for own in own_R] if shared.of_weights else [real]
    labels_R = victims.labels_B[own_R]
    controls = [
        _controls(as_pixels(victims.like(int(label))), target)
        for label, target in zip(labels_R, targets, strict=True)
    ]
    near = [psnr(found.start, target).max().reshape(1) for target in targets]
    facts = {
        "psnr": mean_of(scores_RB[torch.arange(len(own_R)), own_R]),
        "ssim": mean_of(ssim(found.images, originals)),
        "identified": mean_of(_identified(victims, found, own_R, shared)),
        "identified_by_chance": float(np.mean(_chances(victims, labels_R, targets))),
        "psnr_others": float(np.mean([others for others, _ in controls])),
        "psnr_class_mean": float(np.mean([mean for _, mean in controls])),
        "psnr_start": mean_of(torch.cat(near)),
        "labels": _labels_right(found.labels_B, victims.labels_B[: len(found.labels_B)]),
        "distance": found.distance,
        "evaluations": found.evaluations,
        "seconds": seconds,
    }
    return AttackResult(facts, originals, found.images)


def _controls(others: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return how like the targets other images of the class are: on average, and their mean."""
    each = psnr(others, targets).max(dim=1).values
    return mean_of(each), float(psnr(others.mean(0, keepdim=True), targets).max())


def _identified(
    victims: Victims, found: Reconstruction, own_R: list[int], shared: UploadKind
) -> Tensor:
    """Return for each reconstruction whether no other image of the client is nearer to it."""
    real, others = as_pixels(victims.inputs), as_pixels(victims.others)
    mine = real if not shared.of_weights else real[own_R]
    near_R = psnr(found.images, mine)
    best_R = near_R.max(dim=1).values if not shared.of_weights else near_R.diagonal()
    return (best_R > psnr(found.images, others).max(dim=1).values).double()


def _chances(victims: Victims, labels_R: Tensor, targets: Sequence[Tensor]) -> list[float]:
    """Return how often one of the client's images of the class, drawn at random, is a target."""
    every = torch.cat([victims.labels_B, victims.other_labels_M])
    return [
        len(target) / int((every == label).sum())
        for label, target in zip(labels_R, targets, strict=True)
    ]


def _labels_right(found_B: Tensor, real_B: Tensor) -> float:
    """Return the share of labels that were found, whatever their order."""
    size = int(max(found_B.max(), real_B.max())) + 1
    counts = [torch.bincount(labels, minlength=size) for labels in (found_B, real_B)]
    return int(torch.minimum(*counts).sum()) / len(real_B)


def write(path: Path, case: AttackResult) -> None:
    """Write a case; a crash leaves nothing of it, or all."""
    images = {"originals": case.originals, "reconstructions": case.reconstructions}
    contiguous = {name: each.contiguous() for name, each in images.items()}
    atomic_files.write(path, save(contiguous, {"facts": json.dumps(dict(case.facts))}))


def read(path: Path) -> AttackResult:
    """Read what `write` wrote.

    Raises:
        RunError: if it is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return AttackResult(
                facts, file.get_tensor("originals"), file.get_tensor("reconstructions")
            )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        problem = f"cannot be read ({error})"
        raise RunError(str(path), problem, "remove it; the attack then runs again") from error
