"""A base as an ONNX graph; needs `onnx`, which a device does not.

Shape suffixes: N inputs, K filters, L places, G parts of the grid, F raw features, D dimensions.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeloop.bases import exact, filters
from edgeloop.bases.filters import Filters
from edgeloop.bases.manifest import FEATURES, INPUTS, KEY, VARIANCES

OPSET, IR_VERSION = 17, 9
"""What all of onnxruntime's versions read that we allow."""


class Graph:
    """Collects a graph's nodes and constants; each method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, to: str, **attributes: Any) -> str:
        """Add a node."""
        self.nodes.append(helper.make_node(kind, list(inputs), [to], **attributes))
        return to

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """Add a constant array."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, name: str, value: float) -> str:
        """Add a constant number, float32."""
        return self.constant(name, np.array(value, np.float32))

    def whole(self, name: str, *values: int) -> str:
        """Add constant whole numbers, int64."""
        return self.constant(name, np.array(values, np.int64))


def of_filters(found: Filters, shape: tuple[int, ...], scale: float = 1.0) -> bytes:
    """Return the graph of a computed base: inputs (N, *shape) to features (N, D).

    Args:
        found: the base.
        shape: of one input, as clients have it.
        scale: that brings inputs to [-1, 1].
    """
    graph = Graph()
    values = INPUTS
    if scale != 1:
        values = graph.add("Mul", INPUTS, graph.number("scale", scale), to="scaled")
    images = graph.add("Reshape", values, graph.whole("sides", -1, *found.shape), to="images")
    raw = _raw(graph, found, images, "straight")
    if found.recipe.mirrored:
        ends = graph.whole("first", -1), graph.whole("last", -(2**31)), graph.whole("axis", 3)
        turned = graph.add("Slice", images, *ends, graph.whole("back", -1), to="mirrored")
        both = graph.add("Add", raw, _raw(graph, found, turned, "mirror"), to="both")
        raw = graph.add("Mul", both, graph.number("half", 0.5), to="raw")
    shift_D = -exact.product(found.centre_F[None], found.project_FD, fine=True)[0]
    weights = graph.constant("project", found.project_FD.astype(np.float32))
    graph.add(
        "Gemm", raw, weights, graph.constant("shift", shift_D.astype(np.float32)), to=FEATURES
    )
    return _file(graph, shape, found.project_FD.shape[1], found.variances_D.tolist())


def _raw(graph: Graph, found: Filters, images: str, way: str) -> str:
    """Add what makes the raw features (N, F) of images."""

    def name(word: str) -> str:
        return f"{way}.{word}"

    def shared(word: str, array: NDArray[np.generic]) -> str:
        known = {each.name for each in graph.constants}
        return word if word in known else graph.constant(word, array.astype(np.float32))

    patch = filters.sides(found.recipe, found.shape)[0]
    kernel = (found.shape[0], *patch)
    size = int(np.prod(kernel))
    window = {"kernel_shape": list(patch), "strides": [found.recipe.stride] * 2}
    mean_K1 = exact.column_sums(found.whitened_KP.T)[:, None] / size
    centred_KP = found.whitened_KP - mean_K1
    weights = shared("filters", centred_KP.reshape(-1, *kernel))
    box = shared("box", np.full((1, *kernel), 1 / size))
    convolved = graph.add("Conv", images, weights, to=name("convolved"), **window)
    mean = graph.add("Conv", images, box, to=name("mean"), **window)
    squared = graph.add("Mul", images, images, to=name("squared"))
    square = graph.add("Conv", squared, box, to=name("square"), **window)
    mean_squared = graph.add("Mul", mean, mean, to=name("mean_squared"))
    scatter = graph.add("Sub", square, mean_squared, to=name("scatter"))
    positive = graph.add("Relu", scatter, to=name("positive"))
    unbiased = shared("unbiased", np.array(size / max(size - 1, 1)))
    variance = graph.add("Mul", positive, unbiased, to=name("variance"))
    offset = shared("offset", np.array(found.recipe.offset))
    root = graph.add("Sqrt", graph.add("Add", variance, offset, to=name("safe")), to=name("root"))
    local = graph.add("Div", convolved, root, to=name("local"))
    bias = shared("bias", found.bias_K.reshape(1, -1, 1, 1))
    answer = graph.add("Sub", local, bias, to=name("answer"))
    threshold = shared("threshold", np.array(found.recipe.threshold))
    above = graph.add("Sub", answer, threshold, to=name("above"))
    negated = graph.add("Neg", answer, to=name("negated"))
    below = graph.add("Sub", negated, threshold, to=name("below"))
    both = graph.add("Concat", above, below, to=name("signs"), axis=1)
    maps = graph.add("Relu", both, to=name("maps"))
    pool = filters.pooling(found.recipe, found.shape)
    flat_sides = (
        "places"
        if any(c.name == "places" for c in graph.constants)
        else graph.whole("places", 0, 2 * len(found.whitened_KP), len(pool))
    )
    flat = graph.add("Reshape", maps, flat_sides, to=name("flat"))
    pooled = graph.add("MatMul", flat, shared("pool", pool), to=name("pooled"))
    rooted = graph.add("Sqrt", pooled, to=name("rooted"))
    return graph.add("Flatten", rooted, to=name("raw"), axis=1)


def _file(graph: Graph, shape: Sequence[int], dims: int, variances: Sequence[float]) -> bytes:
    inputs = helper.make_tensor_value_info(INPUTS, TensorProto.FLOAT, ["N", *shape])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", dims])
    made = helper.make_graph(graph.nodes, "base", [inputs], [features], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "edgeloop", ""
    mark(model, {VARIANCES: told(variances)})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def told(variances: Iterable[float]) -> str:
    """Return variances as a base's metadata tell them."""
    return json.dumps([float(f"{each:.9g}") for each in variances])


def mark(model: onnx.ModelProto, facts: Mapping[str, str]) -> None:
    """Write facts into a model's metadata."""
    helper.set_model_props(model, {KEY + name: value for name, value in facts.items()})
