"""Client models: bases of many architectures, one feature width, a head each."""

from edgeloop.models.architectures import (
    ARCHITECTURES,
    build,
    feature_width,
    first,
    fitting,
    forward_flops,
    parts,
)
from edgeloop.models.groups import ALIASES, GROUPS, members
from edgeloop.models.split import SplitModel, exportable, pooling_matrix
from edgeloop.models.vision import BASES as _TORCHVISION

TORCHVISION = frozenset(_TORCHVISION)
"""The architectures that need torchvision."""

__all__ = [
    "ALIASES",
    "ARCHITECTURES",
    "GROUPS",
    "TORCHVISION",
    "SplitModel",
    "build",
    "exportable",
    "feature_width",
    "first",
    "fitting",
    "forward_flops",
    "members",
    "parts",
    "pooling_matrix",
]
