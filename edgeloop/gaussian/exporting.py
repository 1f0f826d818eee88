"""A client's mixture as one ONNX graph, from pixels to scores; needs `onnx`.

Shape suffixes: B samples, C classes, D dimensions, L landmarks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgeloop.bases import opsets
from edgeloop.bases.graph import OPSET, Graph
from edgeloop.bases.manifest import FEATURES, INPUTS
from edgeloop.gaussian.classifier import Linear
from edgeloop.gaussian.client import Expert, MixedClassifier
from edgeloop.gaussian.kernel import Kernel
from edgeloop.gaussian.statistics import LARGEST

_BASE, _NETWORK = "base/", "network/"


def classifier(  # noqa: PLR0913 - keywords but three: all that the file says
    graph: bytes,
    mixture: MixedClassifier,
    spread_D: NDArray[np.float64],
    *,
    cosine: bool,
    pixels: bool,
    shape: Sequence[int],
    names: tuple[str, str],
    network: onnx.ModelProto | None = None,
    centre_D: NDArray[np.float64] | None = None,
) -> bytes:
    """Return an ONNX file without metadata: images (B, *shape) to log posteriors (B, C).

    Args:
        graph: the base's.
        mixture: of the client.
        spread_D: the base's variances.
        cosine: whether features are whitened and made of length 1.
        pixels: whether inputs are pixels, 0 to 255, that the base wants as x / 127.5 - 1.
        shape: of one input.
        names: of the input and of the output.
        network: the client's own, which joins the mixture: inputs as the base reads them, to scores
            (B, C); None without one.
        centre_D: a point among the features, from which the linear classifiers measure: in single
            precision, large numbers that hardly differ would cancel out; None for the origin.

    Raises:
        BaseError: if the base's file cannot be built upon.
    """
    least = opsets.LEAST if network is None else OPSET
    loaded = opsets.brought_up(onnx.load_from_string(graph), "base", least)
    model, version = onnx.compose.add_prefix(loaded, _BASE), opsets.version_of(loaded)
    whole = Graph()
    entry = _add_entry(whole, names[0], pixels)
    whole.nodes += model.graph.node
    whole.constants += model.graph.initializer
    prepared = _add_prepared(whole, spread_D, cosine)
    into = _Entry(prepared, version, np.zeros(len(spread_D)) if centre_D is None else centre_D)
    parts = [
        _add_expert(whole, "own", mixture.own, 1 - mixture.weight, into),
        _add_expert(whole, "everybody", mixture.everybody, mixture.weight, into),
    ]
    mixed = whole.add("Add", *parts, to="mixed")
    if network is not None:
        network = opsets.converted(network, version)
        mixed = whole.add("Add", mixed, _add_network(whole, network, entry), to="joined")
    whole.add("LogSoftmax", mixed, to=names[1], axis=1)
    classes = len(mixture.everybody.bias_C)
    return _file(whole, model, (names[0], shape), (names[1], classes))


def _add_entry(graph: Graph, name: str, pixels: bool) -> str:
    """Add what makes of the input what the base reads; return its name."""
    if pixels:
        scaled = graph.add("Div", name, graph.number("scale", 127.5), to="scaled")
        name = graph.add("Sub", scaled, graph.number("one", 1.0), to="centred")
    return graph.add("Identity", name, to=_BASE + INPUTS)


def _add_network(graph: Graph, network: onnx.ModelProto, entry: str) -> str:
    """Add a network's log posteriors (B, C), of one input and one output."""
    inner = onnx.compose.add_prefix(network, _NETWORK).graph
    graph.add("Identity", entry, to=inner.input[0].name)
    graph.nodes += inner.node
    graph.constants += inner.initializer
    return graph.add("LogSoftmax", inner.output[0].name, to="network.logs", axis=1)


def _add_prepared(graph: Graph, spread_D: NDArray[np.float64], cosine: bool) -> str:
    """Add features as a run's classifiers read them; see `client.prepare_features`."""
    features = _BASE + FEATURES
    if cosine:
        root = graph.reals("deviation", np.sqrt(spread_D + 1e-3 * spread_D.mean()))
        scaled = graph.add("Div", features, root, to="whitened")
        return graph.add("LpNormalization", scaled, to="prepared", axis=1, p=2)
    limits = graph.number("least", -LARGEST), graph.number("most", LARGEST)
    return graph.add("Clip", features, *limits, to="prepared")


@dataclass(frozen=True)
class _Entry:
    """What an expert reads.

    Attributes:
        name: of the features, as a run's classifiers read them.
        version: of ONNX's operators in the graph.
        centre_D: from which a linear one measures.
    """

    name: str
    version: int
    centre_D: NDArray[np.float64]


def _add_expert(graph: Graph, name: str, found: Expert, weight: float, into: _Entry) -> str:
    """Add an expert's log posteriors (B, C), times its share."""
    if isinstance(found, Kernel):
        near = _add_near(graph, name, found, into)
        values = graph.add("Exp", near, to=f"{name}.kernel")
        weights, bias = found.sharpness * found.weights_LC, found.sharpness * found.bias_C
    elif isinstance(found, Linear):
        values, centre_D = _add_centred(graph, name, into.name, into.centre_D)
        weights, bias = found.weights_DC, found.bias_C + centre_D @ found.weights_DC
    else:
        raise TypeError(f"{type(found).__name__} has no graph")
    constants = graph.reals(f"{name}.weights", weights), graph.reals(f"{name}.bias", bias)
    scores = graph.add("Gemm", values, *constants, to=f"{name}.scores")
    logs = graph.add("LogSoftmax", scores, to=f"{name}.logs", axis=1)
    return graph.add("Mul", logs, graph.number(f"{name}.share", weight), to=f"{name}.part")


def _add_centred(
    graph: Graph, name: str, values: str, centre_D: NDArray[np.float64]
) -> tuple[str, NDArray[np.float64]]:
    """Add features less a centre, in single precision; return their name, and that centre."""
    if not centre_D.any():
        return values, centre_D
    rounded_D = centre_D.astype(np.float32)
    constant = graph.constant(f"{name}.centre", rounded_D)
    return graph.add("Sub", values, constant, to=f"{name}.centred"), rounded_D.astype(np.float64)


def _add_near(graph: Graph, name: str, found: Kernel, into: _Entry) -> str:
    """Add the negative squared distances (B, L) to the landmarks, times the kernel's width.

    Both are taken from the landmarks' mean, or distances that are small beside the features
    themselves would be lost in single precision.
    """
    mean_D = found.landmarks_LD.mean(0) * found.spread_D
    values, centre_D = _add_centred(graph, name, into.name, mean_D)
    marks_LD = found.landmarks_LD - centre_D / found.spread_D
    spread = graph.reals(f"{name}.spread", found.spread_D)
    scaled = graph.add("Div", values, spread, to=f"{name}.x")
    squares = _add_squares(graph, name, scaled, into.version)
    twice = graph.reals(f"{name}.landmarks", 2 * marks_LD.T)
    products = graph.add("MatMul", scaled, twice, to=f"{name}.2xl")
    less = graph.add("Sub", products, squares, to=f"{name}.less")
    lengths = graph.reals(f"{name}.l2", (marks_LD**2).sum(1))
    minus = graph.add("Sub", less, lengths, to=f"{name}.minus")
    bounded = graph.add("Min", minus, graph.number(f"{name}.zero", 0.0), to=f"{name}.bounded")
    return graph.add("Mul", bounded, graph.number(f"{name}.width", found.width), to=f"{name}.near")


def _add_squares(graph: Graph, name: str, values: str, version: int) -> str:
    """Add the squared lengths (B, 1) of rows."""
    if version < opsets.AXES_AS_INPUT:
        return graph.add("ReduceSumSquare", values, to=f"{name}.x2", axes=[1], keepdims=1)
    axis = graph.whole(f"{name}.axis", 1)
    return graph.add("ReduceSumSquare", values, axis, to=f"{name}.x2", keepdims=1)


def _file(
    graph: Graph,
    base: onnx.ModelProto,
    entry: tuple[str, Sequence[int]],
    made: tuple[str, int],
) -> bytes:
    """Return a checked file of a graph on a base: its input's name and shape, its output's."""
    reads = helper.make_tensor_value_info(entry[0], TensorProto.FLOAT, ["B", *entry[1]])
    makes = helper.make_tensor_value_info(made[0], TensorProto.FLOAT, ["B", made[1]])
    body = helper.make_graph(graph.nodes, "classifier", [reads], [makes], graph.constants)
    whole = helper.make_model(body, opset_imports=base.opset_import)
    whole.ir_version, whole.producer_name = base.ir_version, "edgeloop"
    onnx.checker.check_model(whole)
    return bytes(whole.SerializeToString(deterministic=True))
