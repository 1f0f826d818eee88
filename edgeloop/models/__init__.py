"""Client models: bases of many architectures, one feature width, one kind of head."""

from edgeloop.models.groups import (
    ARCHITECTURES,
    GROUPS,
    build,
    feature_width,
    first,
    fitting,
    members,
)
from edgeloop.models.split import SplitModel, exportable, pooling_matrix

__all__ = [
    "ARCHITECTURES",
    "GROUPS",
    "SplitModel",
    "build",
    "exportable",
    "feature_width",
    "first",
    "fitting",
    "members",
    "pooling_matrix",
]
