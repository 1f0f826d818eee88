"""How good a generator's digits are, in numbers: judged by a classifier trained on the real ones.

Shape suffixes: N samples, D features of the classifier, C = 10 digits, P pixels of an image.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop.seeds import derive, drawing

HELD_OUT = 1_500
"""Real digits that the classifier does not learn from."""

CONFIDENT = 0.9
EPOCHS = 10
WIDTH = 64


class Judge(nn.Module):
    """A small classifier of digits; the layer before its last one gives the features (N, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.seeing = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 49, WIDTH),
            nn.ReLU(),
        )
        self.naming = nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (N, D) and logits (N, C) of images (N, 1, 28, 28) from -1 to 1."""
        features_ND = self.seeing(images)
        return features_ND, self.naming(features_ND)


def trained_judge(images: Tensor, labels: Tensor, seed: int, epochs: int = EPOCHS) -> Judge:
    """Train a judge on these digits (Adam, batches of 64)."""
    with drawing(derive(seed, "judge")):
        judge = Judge()
    optimizer = torch.optim.Adam(judge.parameters(), lr=1e-3)
    random = torch.Generator().manual_seed(derive(seed, "judge's batches"))
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=random).split(64):
            optimizer.zero_grad()
            F.cross_entropy(judge(images[rows])[1], labels[rows]).backward()
            optimizer.step()
    return judge.eval()


@torch.no_grad()
def judge_images(judge: Judge, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return features (N, D) and probabilities (N, C) of images."""
    parts = [judge(part) for part in images.split(500)]
    features, logits = (torch.cat(each) for each in zip(*parts, strict=True))
    return features, logits.softmax(1)


def frechet(ours_ND: Tensor, theirs_ND: Tensor) -> float:
    """Return the squared Frechet distance of the Gaussians with two samples' means and covariances.

    |m - n|^2 + trace(S + T - 2 (S T)^(1/2)): what FID measures, here in a judge's features.
    """
    means = [each.double().mean(0) for each in (ours_ND, theirs_ND)]
    ours_DD, theirs_DD = (torch.cov(each.double().T) for each in (ours_ND, theirs_ND))
    values, vectors = torch.linalg.eigh(ours_DD)
    root_DD = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root_DD @ theirs_DD @ root_DD).clamp(min=0).sqrt().sum()
    gap = (means[0] - means[1]).square().sum()
    return float(gap + ours_DD.trace() + theirs_DD.trace() - 2 * cross)


def nearest(ours_NP: Tensor, theirs_NP: Tensor) -> float:
    """Return the median distance of one sample's images to the nearest of the other's."""
    parts = [torch.cdist(part, theirs_NP).min(1).values for part in ours_NP.split(500)]
    return float(torch.cat(parts).median())


def score(images: Tensor, labels: Tensor, drawn: Tensor, seed: int = 0) -> dict[str, Any]:
    """Compare drawn images with real ones.

    Args:
        images: real digits (N, 1, 28, 28) from -1 to 1.
        labels: (N,).
        drawn: the generator's (M, 1, 28, 28).
        seed: of the judge, and of which digits it does not see.

    Returns:
        the numbers that RECORD.md explains.
    """
    random = torch.Generator().manual_seed(derive(seed, "held out"))
    order = torch.randperm(len(labels), generator=random)
    held, seen = order[:HELD_OUT], order[HELD_OUT:]
    judge = trained_judge(images[seen], labels[seen], seed)
    held_features, held_probabilities = judge_images(judge, images[held])
    features, probabilities = judge_images(judge, drawn)
    seen_features, _ = judge_images(judge, images[seen])
    shares = torch.bincount(probabilities.argmax(1), minlength=10) / len(drawn)
    noisy, _ = judge_images(judge, with_noise(images[held], random))
    return {
        "judge_accuracy": _mean(held_probabilities.argmax(1) == labels[held]),
        "frechet_drawn": frechet(features, seen_features),
        "frechet_held_out": frechet(held_features, seen_features),
        "frechet_noisy": frechet(noisy, seen_features),
        "confident_drawn": _mean(probabilities.max(1).values > CONFIDENT),
        "confident_held_out": _mean(held_probabilities.max(1).values > CONFIDENT),
        "shares_of_digits": [round(share, 4) for share in shares.tolist()],
        "entropy_of_shares": float(-(shares * shares.clamp(min=1e-12).log()).sum()) / math.log(10),
        "nearest_drawn": nearest(drawn.flatten(1), images[seen].flatten(1)),
        "nearest_held_out": nearest(images[held].flatten(1), images[seen].flatten(1)),
    }


def with_noise(images: Tensor, random: torch.Generator) -> Tensor:
    """Return images with Gaussian noise of standard deviation 0.5, a yardstick of bad ones."""
    noise = torch.randn(images.shape, generator=random)
    return (images + 0.5 * noise).clamp(-1, 1)


def _mean(hits: Tensor) -> float:
    return float(hits.float().mean())
