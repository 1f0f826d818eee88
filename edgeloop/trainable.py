"""A module under its name of 0.1: see the warning for the new one."""

import warnings
from typing import Any

from edgeloop.knowledge import prototype_network


def __getattr__(name: str) -> Any:
    found = getattr(prototype_network, name)
    new = "edgeloop.knowledge.prototype_network"
    warnings.warn(f"edgeloop.trainable is {new} now", DeprecationWarning, stacklevel=2)
    return found
