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

from edgeloop.bases import blocks, exact, filters
from edgeloop.bases.blocks import Block
from edgeloop.bases.filters import Filters, Second
from edgeloop.bases.manifest import FEATURES, INPUTS, KEY, VARIANCES

OPSET, IR_VERSION = 17, 9
"""What all of onnxruntime's versions read that we allow."""

_BACK = -(2**31)  # to the first pixel, from the last


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

    def reals(self, name: str, array: NDArray[np.float64]) -> str:
        """Add a constant array, float32."""
        return self.constant(name, array.astype(np.float32))

    def whole(self, name: str, *values: int) -> str:
        """Add constant whole numbers, int64."""
        return self.constant(name, np.array(values, np.int64))


def graph_of_filters(found: Filters, shape: tuple[int, ...], scale: float = 1.0) -> bytes:
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
    if found.recipe.mirrored:
        ends = graph.whole("last", -1), graph.whole("first", _BACK)
        axis, back = graph.whole("width", 3), graph.whole("back", -1)
        mirrored = graph.add("Slice", images, *ends, axis, back, to="mirrored")
        images = graph.add("Concat", images, mirrored, to="both ways", axis=0)
    raw = _raw(graph, found, images)
    shift_D = -exact.product(found.centre_F[None], found.project_FD, fine=True)[0]
    weights = graph.reals("project", found.project_FD)
    graph.add("Gemm", raw, weights, graph.reals("shift", shift_D), to=FEATURES)
    return _file(graph, shape, found.project_FD.shape[1], found.variances_D.tolist())


def _raw(graph: Graph, found: Filters, images: str) -> str:
    """Add what makes the raw features (N, F) of images."""
    sides = found.shape[1], found.shape[2]
    answered = _answers(graph, "first", found.first, images, found.shape[0])
    places = found.first.places(sides)
    one = _pooled(graph, "first", answered, places, found.recipe.grid, 2 * len(found.first.bias_K))
    one = _averaged(graph, found, "first", one)
    if found.second is None:
        return one
    two = _averaged(graph, found, "second", _second(graph, found, found.second, images))
    pool = graph.reals("colour grid", blocks.grid(sides, filters.COLOURS))
    flat = graph.whole("colour places", 0, found.shape[0], sides[0] * sides[1])
    pixels = graph.add("Reshape", images, flat, to="pixels")
    means = graph.add("MatMul", pixels, pool, to="colour means")
    colours = graph.add("Flatten", means, to="colours", axis=1)
    colours = _averaged(graph, found, "colour", colours)
    weight = graph.number("colour weight", filters.COLOUR_WEIGHT)
    colours = graph.add("Mul", colours, weight, to="weighted colours")
    lengths = [
        graph.add("LpNormalization", each, to=f"{name} of length 1", axis=1, p=2)
        for name, each in (("first", one), ("second", two))
    ]
    return graph.add("Concat", *lengths, colours, to="raw", axis=1)


def _second(graph: Graph, found: Filters, second: Second, images: str) -> str:
    low, sides = second.low, (found.shape[1], found.shape[2])
    answered = _answers(graph, "low", low, images, found.shape[0])
    window = {"kernel_shape": [3, 3], "strides": [2, 2]}
    means = graph.add("AveragePool", answered, to="low means", **window)
    roots = graph.add("Sqrt", means, to="low roots")
    mix = second.mix_MC[:, :, None, None]
    shift = -exact.product(second.mix_MC, second.mean_C[:, None], fine=True)[:, 0]
    weights = graph.reals("mix", mix), graph.reals("mix shift", shift)
    middle = graph.add("Conv", roots, *weights, to="middle", kernel_shape=[1, 1])
    rows, columns = ((place - 3) // 2 + 1 for place in low.places(sides))
    high = _answers(graph, "high", second.high, middle, len(second.mix_MC))
    places = second.high.places((rows, columns))
    channels = 2 * len(second.high.bias_K)
    return _pooled(graph, "high", high, places, found.recipe.grid, channels)


def _answers(graph: Graph, name: str, block: Block, maps: str, channels: int) -> str:
    """Add a block: filters after local contrast, both signs, above the threshold."""
    if block.pad:
        pads = graph.whole(f"{name}.pads", 0, 0, block.pad, block.pad, 0, 0, block.pad, block.pad)
        maps = graph.add("Pad", maps, pads, to=f"{name}.padded", mode="reflect")
    kernel = (channels, *block.patch)
    size = int(np.prod(kernel))
    window = {"kernel_shape": list(block.patch), "strides": [block.stride] * 2}
    weights = graph.reals(f"{name}.filters", block.filters_KP.reshape(-1, *kernel))
    box = graph.reals(f"{name}.box", np.full((1, *kernel), 1 / size))
    convolved = graph.add("Conv", maps, weights, to=f"{name}.convolved", **window)
    mean = graph.add("Conv", maps, box, to=f"{name}.mean", **window)
    squared = graph.add("Mul", maps, maps, to=f"{name}.squared")
    square = graph.add("Conv", squared, box, to=f"{name}.square", **window)
    mean_squared = graph.add("Mul", mean, mean, to=f"{name}.mean squared")
    scatter = graph.add("Sub", square, mean_squared, to=f"{name}.scatter")
    positive = graph.add("Relu", scatter, to=f"{name}.positive")
    unbiased = graph.number(f"{name}.unbiased", size / max(size - 1, 1))
    variance = graph.add("Mul", positive, unbiased, to=f"{name}.variance")
    offset = graph.number(f"{name}.offset", blocks.OFFSET)
    safe = graph.add("Add", variance, offset, to=f"{name}.safe")
    local = graph.add(
        "Div", convolved, graph.add("Sqrt", safe, to=f"{name}.root"), to=f"{name}.local"
    )
    bias = graph.reals(f"{name}.bias", block.bias_K.reshape(1, -1, 1, 1))
    answer = graph.add("Sub", local, bias, to=f"{name}.answer")
    signs = graph.add("Concat", answer, graph.add("Neg", answer, to=f"{name}.negated"),
                      to=f"{name}.signs", axis=1)  # fmt: skip
    threshold = graph.number(f"{name}.threshold", block.threshold)
    return graph.add(
        "Relu", graph.add("Sub", signs, threshold, to=f"{name}.above"), to=f"{name}.maps"
    )


def _pooled(
    graph: Graph, name: str, maps: str, places: tuple[int, int], parts: int, channels: int
) -> str:
    """Add the roots of the means of each part of a grid, in one row."""
    flat = graph.whole(f"{name}.places", 0, channels, places[0] * places[1])
    rows = graph.add("Reshape", maps, flat, to=f"{name}.rows")
    pool = graph.reals(f"{name}.grid", blocks.grid(places, parts))
    means = graph.add("MatMul", rows, pool, to=f"{name}.means")
    return graph.add(
        "Flatten", graph.add("Sqrt", means, to=f"{name}.roots"), to=f"{name}.raw", axis=1
    )


def _averaged(graph: Graph, found: Filters, name: str, rows: str) -> str:
    """Add the mean of an image's row and its mirror image's, where there are both."""
    if not found.recipe.mirrored:
        return rows
    if all(each.name != "two" for each in graph.constants):
        graph.whole("two", 2, -1)
    width = graph.add("Shape", rows, to=f"{name} sides", start=1)
    both = graph.add("Concat", "two", width, to=f"{name} shape", axis=0)
    pairs = graph.add("Reshape", rows, both, to=f"{name} pairs")
    return graph.add("ReduceMean", pairs, to=f"{name} mean", axes=[0], keepdims=0)


def _file(graph: Graph, shape: Sequence[int], dims: int, variances: Sequence[float]) -> bytes:
    inputs = helper.make_tensor_value_info(INPUTS, TensorProto.FLOAT, ["N", *shape])
    features = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", dims])
    made = helper.make_graph(graph.nodes, "base", [inputs], [features], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "edgeloop", ""
    add_metadata(model, {VARIANCES: format_variances(variances)})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def format_variances(variances: Iterable[float]) -> str:
    """Return variances as a base's metadata tell them."""
    return json.dumps([float(f"{each:.9g}") for each in variances])


def add_metadata(model: onnx.ModelProto, facts: Mapping[str, str]) -> None:
    """Write facts into a model's metadata."""
    helper.set_model_props(model, {KEY + name: value for name, value in facts.items()})
