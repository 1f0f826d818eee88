"""A module under its name of 0.1: see the warning for the new one."""

import warnings
from typing import Any

from edgeloop.knowledge import contrastive_loss as _module


def __getattr__(name: str) -> Any:
    found = getattr(_module, name)
    new = "edgeloop.knowledge.contrastive_loss"
    warnings.warn(f"edgeloop.contrastive is {new} now", DeprecationWarning, stacklevel=2)
    return found
