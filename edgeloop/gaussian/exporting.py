"""A client's mixture as one ONNX graph, from pixels to scores; needs `onnx`.

Shape suffixes: B samples, C classes, D dimensions.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeloop.bases.manifest import FEATURES, INPUTS
from edgeloop.gaussian.classifier import Linear
from edgeloop.gaussian.client import Expert, Mixture
from edgeloop.gaussian.kernel import Kernel
from edgeloop.gaussian.statistics import LARGEST

_BASE = "base/"


def classifier(
    graph: bytes,
    mixture: Mixture,
    spread_D: NDArray[np.float64],
    *,
    cosine: bool,
    pixels: bool,
    shape: Sequence[int],
    names: tuple[str, str],
    metadata: Mapping[str, str],
) -> bytes:
    """Return an ONNX file: images (B, *shape) to log posteriors (B, C).

    Args:
        graph: the base's.
        mixture: the client's.
        spread_D: the base's variances.
        cosine: whether features are whitened and made of length 1.
        pixels: whether inputs are pixels, 0 to 255, that the base wants as x / 127.5 - 1.
        shape: of one input.
        names: of the input and of the output.
        metadata: written into the file.
    """
    model = onnx.compose.add_prefix(onnx.load_from_string(graph), _BASE)
    nodes, constants = list(model.graph.node), list(model.graph.initializer)

    def constant(name: str, array: NDArray[np.float64]) -> str:
        constants.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def add(kind: str, *inputs: str, to: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [to], **attributes))
        return to

    def linear(name: str, found: Linear) -> str:
        weights = constant(f"{name}.weights", found.weights_DC)
        bias = constant(f"{name}.bias", found.bias_C)
        return add("Gemm", prepared, weights, bias, to=f"{name}.scores")

    def distances(name: str, found: Kernel) -> str:
        """Add the negative squared distances (B, L) to the landmarks, times the kernel's width."""
        marks_LD = found.landmarks_LD
        scaled = add("Div", prepared, constant(f"{name}.spread", found.spread_D), to=f"{name}.x")
        squares = add("ReduceSumSquare", scaled, to=f"{name}.x2", axes=[1], keepdims=1)
        cross = constant(f"{name}.landmarks", 2 * marks_LD.T)
        products = add("MatMul", scaled, cross, to=f"{name}.2xl")
        near = add("Sub", products, squares, to=f"{name}.near")
        lengths = constant(f"{name}.l2", (marks_LD**2).sum(1))
        minus = add("Sub", near, lengths, to=f"{name}.minus")
        zero = constant(f"{name}.zero", np.array(0.0))
        bounded = add("Min", minus, zero, to=f"{name}.bounded")
        return add("Mul", bounded, constant(f"{name}.width", np.array(found.width)), to=f"{name}.d")

    def kernel(name: str, found: Kernel) -> str:
        values = add("Exp", distances(name, found), to=f"{name}.kernel")
        weights = constant(f"{name}.weights", found.sharpness * found.weights_LC)
        bias = constant(f"{name}.bias", found.sharpness * found.bias_C)
        return add("Gemm", values, weights, bias, to=f"{name}.scores")

    def expert(name: str, found: Expert, weight: float) -> str:
        if isinstance(found, Kernel):
            scores = kernel(name, found)
        elif isinstance(found, Linear):
            scores = linear(name, found)
        else:
            raise TypeError(f"{type(found).__name__} has no graph")
        logs = add("LogSoftmax", scores, to=f"{name}.logs", axis=1)
        share = constant(f"{name}.share", np.array(weight))
        return add("Mul", logs, share, to=f"{name}.part")

    entry = names[0]
    if pixels:
        entry = add("Div", entry, constant("scale", np.array(127.5)), to="scaled")
        entry = add("Sub", entry, constant("one", np.array(1.0)), to="centred")
    add("Identity", entry, to=_BASE + INPUTS)
    _to_front(nodes, 3 if pixels else 1)
    if cosine:
        root = np.sqrt(spread_D + 1e-3 * spread_D.mean())
        scaled = add("Div", _BASE + FEATURES, constant("deviation", root), to="whitened")
        prepared = add("LpNormalization", scaled, to="prepared", axis=1, p=2)
    else:
        limits = constant("least", np.array(-LARGEST)), constant("most", np.array(LARGEST))
        prepared = add("Clip", _BASE + FEATURES, *limits, to="prepared")
    parts = [
        expert("own", mixture.own, 1 - mixture.weight),
        expert("everybody", mixture.everybody, mixture.weight),
    ]
    add("LogSoftmax", add("Add", *parts, to="mixed"), to=names[1], axis=1)
    made = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, ["B", *shape])],
        [
            helper.make_tensor_value_info(
                names[1], TensorProto.FLOAT, ["B", len(mixture.everybody.bias_C)]
            )
        ],
        constants,
    )
    whole = helper.make_model(made, opset_imports=model.opset_import)
    whole.ir_version, whole.producer_name = model.ir_version, "edgeloop"
    helper.set_model_props(whole, dict(metadata))
    onnx.checker.check_model(whole)
    return bytes(whole.SerializeToString(deterministic=True))


def _to_front(nodes: list[onnx.NodeProto], count: int) -> None:
    """Put the last nodes first, in their order: a graph lists what is computed first, first."""
    nodes[:] = nodes[-count:] + nodes[:-count]


def facts(key: str, values: Mapping[str, object], told: Mapping[str, str]) -> dict[str, str]:
    """Return metadata: values as JSON, and what else is told, under one key."""
    known = {name: json.dumps(value) for name, value in values.items()}
    return {key + name: value for name, value in {**known, **told}.items()}
