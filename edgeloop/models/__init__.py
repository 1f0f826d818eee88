"""Client models: bases of many architectures, one feature width, one kind of head or several."""

from edgeloop.models.architectures import (
    ARCHITECTURES,
    Architecture,
    base_without_data,
    build,
    built_in,
    feature_width,
    fitting,
    forget,
    give,
    initial_model,
    is_whole,
    missing,
    names,
    usual_shape,
)
from edgeloop.models.groups import ALIASES, GROUPS, auxiliary, client_architectures
from edgeloop.models.layered import is_layered
from edgeloop.models.split import SplitModel, exportable, pooling_matrix

__all__ = [
    "ALIASES",
    "ARCHITECTURES",
    "GROUPS",
    "Architecture",
    "SplitModel",
    "auxiliary",
    "base_without_data",
    "build",
    "built_in",
    "client_architectures",
    "exportable",
    "feature_width",
    "fitting",
    "forget",
    "give",
    "initial_model",
    "is_layered",
    "is_whole",
    "missing",
    "names",
    "pooling_matrix",
    "usual_shape",
]
