"""What an algorithm's `Config` is made of: types with ranges, and the fields that many share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from edgeloop.protocol.wire import MAX_FRAME

Count = Annotated[int, Ge(1), Le(10**6)]
Positive = Annotated[float, Gt(0), Lt(math.inf)]
NotNegative = Annotated[float, Ge(0), Lt(math.inf)]
"""Types of hyperparameters, with the range that `algorithms.load` holds them to."""

Distances = Literal["nearest", "all-pairs"]
"""Of classes' mean prototypes, whose largest is FedTGP's margin."""

Centroids = Literal["free", "means"]
"""The latents that FedKTL's images are made from."""

PFLLIB: Mapping[str, Any] = {"local_lr": 0.005}
"""PFLlib's default, and its papers' of the four-layer CNN and MLP, where HtFLlib has 0.01."""


@dataclass(frozen=True)
class TrainingConfig:
    """What every algorithm is configured by whose clients train networks.

    Attributes:
        classes: C.
        width: K, the unified feature width.
        seed: the run's seed.
        local_epochs: local epochs per round (E).
        local_lr: learning rate of the clients (eta).
    """

    classes: Count
    width: Count
    seed: int = 0
    local_epochs: Count = 1
    local_lr: Positive = 0.01


@dataclass(frozen=True)
class ModelConfig(TrainingConfig):
    """The same where the server makes a model of the clients' itself, or a part of one.

    Attributes:
        shape: of one input, channels first.
        architecture: of every client's model.
    """

    shape: tuple[int, ...] = (3, 32, 32)
    architecture: str = "cnn"


def check_frame_size(**floats: int) -> None:
    """Refuse a configuration with a matrix that no frame would hold, before one is made.

    Args:
        floats: how many numbers it has, by its name.

    Raises:
        ValueError: naming the matrix.
    """
    for name, count in floats.items():
        if 4 * count > MAX_FRAME:
            raise ValueError(f"{name} of {count} numbers are more than a frame holds")
