"""A base that is one product of matrices, for tests; its numbers are drawn."""

import json
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgeloop.bases.running import Base

DIMS = 6


def tiny_graph(
    shape: Sequence[int],
    dims: int = DIMS,
    *,
    variances: object = None,
    kind: str = "MatMul",
    names: tuple[str, str] = ("inputs", "features"),
) -> bytes:
    """Return the graph of a base: inputs (N, *shape) to features (N, dims)."""
    random = np.random.default_rng(0)
    size = int(np.prod(shape))
    weights = (random.standard_normal((size, dims)) / np.sqrt(size)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", [names[0]], ["flat"], axis=1),
        helper.make_node(kind, ["flat", "weights"], [names[1]]),
    ]
    inputs = helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ["N", *shape])
    outputs = helper.make_tensor_value_info(names[1], TensorProto.FLOAT, ["N", dims])
    constants = [numpy_helper.from_array(weights, "weights")]
    graph = helper.make_graph(nodes, "tiny", [inputs], [outputs], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    if variances is not None:
        helper.set_model_props(model, {"edgeloop.variances": json.dumps(variances)})
    return bytes(model.SerializeToString(deterministic=True))


def tiny_base(shape: Sequence[int], dims: int = DIMS) -> Base:
    """Return such a base."""
    return Base(tiny_graph(shape, dims))
