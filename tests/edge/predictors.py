"""What an exported classifier may end in: the three kinds that the algorithms have."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from edgeloop.knowledge import etf
from edgeloop.knowledge.prototypes import Targets, nearness

Predict = Callable[[Any, Tensor], Tensor]


def by_head(model: Any, inputs: Tensor) -> Tensor:
    logits: Tensor = model(inputs)[1]
    return logits


def nearest(known_C: Tensor, prototypes_CK: Tensor) -> Predict:
    return lambda model, inputs: nearness(model(inputs)[0], Targets(known_C, prototypes_CK))


def by_angle(frame_CC: Tensor) -> Predict:
    return lambda model, inputs: etf.cosines(model(inputs)[1], frame_CC)
