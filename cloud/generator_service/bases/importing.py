"""A frozen extractor of the user's own becomes a base: its ONNX graph with what it wants before.

Shape suffixes: N inputs, F numbers that the extractor makes, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from cloud.generator_service.bases import channels, outputs
from edgeloop.bases import exact, graph, opsets
from edgeloop.bases.graph import Graph
from edgeloop.bases.manifest import FEATURES, INPUTS, LARGEST_DIMS, VARIANCES
from edgeloop.bases.running import Base
from edgeloop.errors import BaseError
from edgeloop.runtime import onnx_graphs

_INNER = "model/"
_LARGEST_RAW = 200_000  # of an image: a thousand take several gigabytes to project


@dataclass(frozen=True)
class Preprocessing:
    """What an extractor wants of an image, as its makers say.

    Attributes:
        size: of the sides (height, width) that it reads; None for the clients' own.
        mean: taken off each colour, of values in [0, 1].
        std: that each colour is then divided by.
        channels_last: whether it reads (N, height, width, channels).
    """

    size: tuple[int, int] | None = None
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    channels_last: bool = False


def wrap_extractor(
    content: bytes,
    shape: tuple[int, ...],
    preprocessing: Preprocessing,
    output: str | None = None,
    name: str = "model",
) -> bytes:
    """Return the graph of a base: inputs (N, *shape) in [-1, 1] to an extractor's numbers (N, F).

    Args:
        content: an ONNX file's bytes: one input, images (N, ...) of float32.
        shape: of one input of the clients: channels, height, width.
        preprocessing: what comes before.
        output: which of its outputs; None for the only one, or the first.
        name: for messages.

    Raises:
        BaseError: if the file is no such extractor.
    """
    model = opsets.brought_up(_read(content, name), name)
    entry, made = _entry(model, name), outputs.chosen(model, output, name)
    _check_sides(model, entry, shape, preprocessing, name)
    inner = onnx.compose.add_prefix(model, _INNER)
    nodes = _before(shape, preprocessing, _INNER + entry)
    nodes.nodes += inner.graph.node
    nodes.constants += inner.graph.initializer
    numbers = outputs.as_single(nodes, model, made, _INNER, name)
    nodes.add("Flatten", numbers, to=FEATURES, axis=1)
    try:
        width = _width(nodes, shape, inner, name)
    except BaseError as error:
        got = channels.given(shape, preprocessing.mean)
        channels.check(model, shape, got, name)
        _check_batch(model, entry, error)
        raise
    return _file(nodes, shape, inner, width)


def reduce_dims(content: bytes, images_N: NDArray[np.float32], dims: int, name: str) -> bytes:
    """Return a base whose numbers are projected to the directions in which they vary most.

    Args:
        content: the graph of `wrap_extractor`.
        images_N: inputs (N, ...) that show how its numbers vary.
        dims: D.
        name: for messages.

    Raises:
        BaseError: if they vary in fewer directions.
    """
    raw_NF = np.array(Base(content, name).features(images_N))
    mean_F = exact.column_sums(raw_NF) / len(raw_NF)
    try:
        project_FD = exact.principal(raw_NF - mean_F, min(dims, raw_NF.shape[1]))
    except ValueError as error:
        problem = f"its features cannot be projected to {dims} dimensions: {error}"
        raise BaseError(name, problem, "give fewer --dims") from error
    spread_ND = exact.product(raw_NF - mean_F, project_FD)
    variances_D = exact.column_sums(spread_ND * spread_ND) / max(len(images_N) - 1, 1)
    scale = float(np.sqrt(variances_D.mean()))
    return _projected(content, mean_F, project_FD / scale, variances_D / scale**2)


def measured(content: bytes, images_N: NDArray[np.float32], name: str) -> bytes:
    """Return a base with an extractor's numbers as they are, which says how each varies.

    Args:
        content: the graph of `wrap_extractor`.
        images_N: inputs (N, ...) that show how its numbers vary.
        name: for messages.

    Raises:
        BaseError: if there are more than a base may have, or they do not vary.
    """
    raw_NF = np.array(Base(content, name).features(images_N))
    if raw_NF.shape[1] > LARGEST_DIMS:
        problem = f"makes {raw_NF.shape[1]} numbers, more than the {LARGEST_DIMS} of a base"
        raise BaseError(name, problem, "project them: give --dims")
    centred_NF = raw_NF - exact.column_sums(raw_NF) / len(raw_NF)
    variances_F = exact.column_sums(centred_NF * centred_NF) / max(len(images_N) - 1, 1)
    if not variances_F.sum() > 0:
        raise BaseError(name, "makes the same of every image", "look at its file")
    whole = onnx.load_from_string(content)
    graph.add_metadata(whole, {VARIANCES: graph.format_variances(variances_F)})
    return bytes(whole.SerializeToString(deterministic=True))


def _projected(
    content: bytes,
    mean_F: NDArray[np.float64],
    project_FD: NDArray[np.float64],
    variances_D: NDArray[np.float64],
) -> bytes:
    model = onnx.load_from_string(content)
    nodes = Graph()
    nodes.nodes, nodes.constants = list(model.graph.node), list(model.graph.initializer)
    nodes.nodes[-1].output[0] = "raw"
    shift_D = -(mean_F @ project_FD)
    weights = nodes.constant("project", project_FD.astype(np.float32))
    nodes.add(
        "Gemm", "raw", weights, nodes.constant("shift", shift_D.astype(np.float32)), to=FEATURES
    )
    shape = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    made = _file(nodes, shape, model, project_FD.shape[1])
    whole = onnx.load_from_string(made)
    graph.add_metadata(whole, {VARIANCES: graph.format_variances(variances_D)})
    return bytes(whole.SerializeToString(deterministic=True))


def _read(content: bytes, name: str) -> onnx.ModelProto:
    try:
        onnx_graphs.check(content)
        model = onnx.load_from_string(content)
        outside = any(each.external_data for each in model.graph.initializer)
        if not outside:
            onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's exceptions have no common base but Exception
        reason = " ".join(str(error).split())[:200]
        raise BaseError(name, f"is no ONNX model ({reason})", "export it again") from error
    if outside:
        problem = "keeps its weights in other files"
        raise BaseError(
            name, problem, "save it as one file (onnx.save_model without external data)"
        )
    return model


def _entry(model: onnx.ModelProto, name: str) -> str:
    constants = {each.name for each in model.graph.initializer}
    entries = [each for each in model.graph.input if each.name not in constants]
    floats = [e for e in entries if e.type.tensor_type.elem_type == TensorProto.FLOAT]
    if len(entries) != 1 or len(floats) != 1:
        problem = f"reads {len(entries)} inputs, {len(floats)} of them float32"
        raise BaseError(name, problem, "export it with one input, images of float32")
    return str(entries[0].name)


def _check_sides(
    model: onnx.ModelProto, entry: str, shape: tuple[int, ...], asked: Preprocessing, name: str
) -> None:
    """Refuse inputs of other sides than the file declares, though it could compute on them."""
    read = next(each for each in model.graph.input if each.name == entry)
    declared = [side.dim_value for side in read.type.tensor_type.shape.dim[1:]]
    colours = channels.given(shape, asked.mean)
    sides = tuple(asked.size or shape[1:])
    given = [*sides, colours] if asked.channels_last else [colours, *sides]
    differ = [want not in (0, got) for want, got in zip(declared, given, strict=False)]
    if len(declared) != len(given) or not any(differ):
        return  # of another rank: running it tells
    wanted, got = (" x ".join(str(side or "any") for side in each) for each in (declared, given))
    problem = f"cannot be run on inputs of {tuple(shape)}: it reads {wanted}, and would get {got}"
    places = declared[:-1] if asked.channels_last else declared[1:]
    remedy = f"give --size {'x'.join(str(side or 'SIDE') for side in places)}"
    if differ[-1 if asked.channels_last else 0]:
        remedy = channels.REMEDY
    raise BaseError(name, problem, remedy)


def _check_batch(model: onnx.ModelProto, entry: str, error: BaseError) -> None:
    """Say of a file that cannot be run that it reads so many inputs at once, if it declares it."""
    read = next(each for each in model.graph.input if each.name == entry)
    batch = [side.dim_value for side in read.type.tensor_type.shape.dim[:1]]
    if batch and batch[0] > 0:
        problem = f"{error.problem}; it declares inputs of {batch[0]} at a time"
        remedy = "export it for any number (in torch: dynamic_axes of the first axis)"
        raise BaseError(error.field, problem, remedy) from error


def _before(shape: tuple[int, ...], asked: Preprocessing, entry: str) -> Graph:
    """Return a graph that makes of the clients' inputs what the extractor reads."""
    nodes = Graph()
    values = nodes.add("Mul", INPUTS, nodes.number("half", 0.5), to="halved")
    values = nodes.add("Add", values, nodes.number("middle", 0.5), to="unit")
    if shape[0] == 1 and len(asked.mean) == 3:
        threefold = nodes.whole("threefold", 1, 3, 1, 1)
        values = nodes.add("Tile", values, threefold, to="coloured")
    if asked.size is not None and asked.size != tuple(shape[1:]):
        sizes = nodes.constant("scales", _scales(shape, asked.size))
        empty = nodes.constant("no region", np.zeros(0, np.float32))
        values = nodes.add("Resize", values, empty, sizes, to="resized", mode="linear")
    mean, std = (
        np.asarray(each, np.float32).reshape(1, -1, 1, 1) for each in (asked.mean, asked.std)
    )
    values = nodes.add("Sub", values, nodes.constant("mean", mean), to="lowered")
    last = "standard" if asked.channels_last else entry
    values = nodes.add("Div", values, nodes.constant("deviation", std), to=last)
    if asked.channels_last:
        nodes.add("Transpose", values, to=entry, perm=[0, 2, 3, 1])
    return nodes


def _scales(shape: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.array([1, 1, size[0] / shape[1], size[1] / shape[2]], np.float32)


def _width(nodes: Graph, shape: Sequence[int], inner: onnx.ModelProto, name: str) -> int:
    """Return F: what the extractor makes of a grey image."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        trial = _file(nodes, shape, inner, None)
        session = onnxruntime.InferenceSession(trial, options, providers=["CPUExecutionProvider"])
        found = session.run([FEATURES], {INPUTS: np.zeros((2, *shape), np.float32)})[0]
        trials = _trials(session, shape)
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        reason = " ".join(str(error).split())[:200]
        remedy = "give the --size, --mean and --std that it was trained with"
        if "not a registered function" in reason:
            remedy = "export it with ONNX's own operators"
        raise BaseError(
            name, f"cannot be run on inputs of {tuple(shape)} ({reason})", remedy
        ) from error
    if found.shape[0] != 2 or not 0 < found.shape[1] <= _LARGEST_RAW:
        problem = f"makes {found.shape} of two inputs"
        remedy = f"choose an --output that has a row of 1 to {_LARGEST_RAW:,} numbers for each"
        raise BaseError(name, problem, remedy)
    _check_steady(*trials, name)
    return int(found.shape[1])


def _trials(
    session: onnxruntime.InferenceSession, shape: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return what the extractor makes of three inputs: together, again, and one by one."""
    inputs = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype(np.float32)
    once, again = (session.run([FEATURES], {INPUTS: inputs})[0] for _ in range(2))
    alone = [session.run([FEATURES], {INPUTS: inputs[i : i + 1]})[0] for i in range(len(inputs))]
    return once, again, np.concatenate(alone)


def _check_steady(
    once: NDArray[np.float32], again: NDArray[np.float32], alone: NDArray[np.float32], name: str
) -> None:
    """Refuse an extractor that draws, or whose numbers of an input depend on its neighbours."""
    remedy = "export it for inference, not for training: in torch after model.eval()"
    if not _alike(once, again):
        raise BaseError(name, "gives other numbers for the same inputs each time", remedy)
    if not _alike(once, alone):
        problem = "gives other numbers for an input when others are computed with it"
        raise BaseError(name, problem, remedy)


def _alike(these: NDArray[np.float32], those: NDArray[np.float32]) -> bool:
    """Return whether numbers are the same but for rounding; those not finite are left to others."""
    if not np.isfinite(these).all() or not np.isfinite(those).all():
        return True
    slack = 1e-3 * max(float(np.abs(these).max(initial=0)), 1e-6)
    return these.shape == those.shape and bool(np.allclose(these, those, rtol=1e-3, atol=slack))


def _file(nodes: Graph, shape: Sequence[int], inner: onnx.ModelProto, width: int | None) -> bytes:
    sides: list[Any] = ["N", "F" if width is None else width]
    made = helper.make_graph(
        nodes.nodes,
        "base",
        [helper.make_tensor_value_info(INPUTS, TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, sides)],
        nodes.constants,
    )
    whole = helper.make_model(made, opset_imports=inner.opset_import)
    whole.ir_version, whole.producer_name = inner.ir_version, "edgeloop"
    return bytes(whole.SerializeToString(deterministic=True))


def read_file(path: Path) -> bytes:
    """Return an ONNX file's bytes.

    Raises:
        BaseError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise BaseError(str(path), problem, "name an ONNX file") from error
