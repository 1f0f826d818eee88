"""Client models: bases of many architectures, one feature width, one kind of head or several."""

from edgeloop.models.architectures import (
    ARCHITECTURES,
    bare,
    build,
    feature_width,
    first,
    fitting,
    missing,
    usual_shape,
)
from edgeloop.models.groups import ALIASES, GROUPS, auxiliary, members
from edgeloop.models.layered import is_layered
from edgeloop.models.split import SplitModel, exportable, pooling_matrix

__all__ = [
    "ALIASES",
    "ARCHITECTURES",
    "GROUPS",
    "SplitModel",
    "auxiliary",
    "bare",
    "build",
    "exportable",
    "feature_width",
    "first",
    "fitting",
    "is_layered",
    "members",
    "missing",
    "pooling_matrix",
    "usual_shape",
]
