"""How far classes' prototypes are from one another, beside how far apart those of one class are.

FedTGP's adaptive margin (Zhang et al., AAAI 2024, https://arxiv.org/abs/2401.03230, Eq. 9) is made
of the same distances between classes' centres.

Shape suffixes: N uploaded prototypes, D their entries, C classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassMargin:
    """A class among the others; distances are Euclidean, in the prototypes' own units.

    Attributes:
        label: the class's number.
        count: prototypes that were uploaded of it.
        spread: their mean distance to their mean; 0 of one.
        nearest: the class whose mean is the nearest; None where there is no other.
        margin: the distance to it.
    """

    label: int
    count: int
    spread: float
    nearest: int | None
    margin: float | None

    @property
    def is_apart(self) -> bool:
        """Whether the nearest class is farther away than two prototypes of the two usually are."""
        return self.margin is None or self.margin > 2 * self.spread


def class_margins(points_ND: NDArray[Any], labels_N: NDArray[Any]) -> list[ClassMargin]:
    """Return each class's margin, in the order of the classes.

    Args:
        points_ND: uploaded prototypes, finite.
        labels_N: their classes.
    """
    points_ND = points_ND.astype(np.float64)
    labels = np.unique(labels_N).tolist()
    of_class = [points_ND[labels_N == label] for label in labels]
    centres_CD = np.stack([each.mean(axis=0) for each in of_class])
    away_CC = np.linalg.norm(centres_CD[:, None] - centres_CD[None], axis=2)
    np.fill_diagonal(away_CC, np.inf)
    found = []
    for place, (label, own_ND) in enumerate(zip(labels, of_class, strict=True)):
        near = int(away_CC[place].argmin())
        alone = len(labels) == 1
        spread = float(np.linalg.norm(own_ND - centres_CD[place], axis=1).mean())
        margin = None if alone else float(away_CC[place, near])
        found.append(
            ClassMargin(int(label), len(own_ND), spread, None if alone else labels[near], margin)
        )
    return found
