"""A classifier of pictures of any size: the resizing that training does, as a part of the graph.

Its input is what every reader of pictures gives: `image`, uint8 (height, width, 3), red, green and
blue. Colours and sizes are converted as `edgeloop.runtime.pictures` converts them: grey is Pillow's
sum of whole numbers, to the bit, and the resizing is ONNX's, which comes within one grey level of
Pillow's (`TOLERANCE`). It needs `onnx`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge.agent.predict import FORM, INPUT, KEY, PIXELS, SHAPE
from edge.agent.predict import PICTURE as IMAGE

OPSET = 18
"""The first in which Resize averages over a side that shrinks."""

TOLERANCE = 1
"""Grey levels, of 255, that the graph's pixels may be from those of `edgeloop.runtime.pictures`."""

OWN = "picture/"
"""Begins the names of what is added to a graph."""

_GREY = (19_595, 38_470, 7_471)
"""Pillow's shares of red, green and blue in grey, in parts of 65,536: ITU-R BT.601."""

_TEXT = "uint8, height x width x 3: red, green and blue of one picture of any size, 0 to 255"


def is_possible(model: ModelProto) -> bool:
    """Return whether a classifier that `onnx_form` completed is one of pictures."""
    known = {entry.key: entry.value for entry in model.metadata_props}
    shape = json.loads(known[KEY + SHAPE])
    return known[KEY + PIXELS] == "true" and len(shape) == 3 and shape[0] in (1, 3)


def of_pictures(model: ModelProto, more: Mapping[str, str]) -> bytes:
    """Return the file of a classifier that takes one picture of any size.

    Args:
        model: what `onnx_form` completed, of pixels (C, H, W) with 1 or 3 colours.
        more: what the file's metadata say besides.

    Returns:
        An ONNX file, checked: `image` to `label` (1,), `probabilities` and `scores` (1, C).
    """
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    producer = model.producer_name, model.producer_version, model.doc_string
    texts = {made.name: made.doc_string for made in model.graph.output}
    whole = _with_resize(model)
    before = list(whole.graph.node)
    del whole.graph.node[:]
    _add_entry(whole, json.loads(metadata[KEY + SHAPE]))
    whole.graph.node.extend(before)
    for made in whole.graph.output:
        made.doc_string = texts[made.name]
        made.type.tensor_type.shape.dim[0].dim_value = 1
    whole.producer_name, whole.producer_version, whole.doc_string = producer
    helper.set_model_props(whole, {**metadata, **more, KEY + FORM: "picture"})
    content = bytes(whole.SerializeToString(deterministic=True))
    onnx.checker.check_model(content, full_check=True)
    return content


def _with_resize(model: ModelProto) -> ModelProto:
    """Return a model in a version of ONNX that has the Resize; it may be the same one."""
    (version,) = (each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return model if version >= OPSET else onnx.version_converter.convert_version(model, OPSET)


def _add_entry(model: ModelProto, shape: Sequence[int]) -> None:
    """Have a graph's input be a picture, and add what makes of it what its input was."""
    graph = model.graph
    colours, height, width = shape
    pixels = _add_grey(model) if colours == 1 else IMAGE
    _constant(model, "first", np.array([0], np.int64))
    _constant(model, "size", np.array([1, colours, height, width], np.int64))
    _node(model, "Transpose", [pixels], "planes", perm=[2, 0, 1])
    _node(model, "Unsqueeze", [f"{OWN}planes", f"{OWN}first"], "batch")
    resized = [f"{OWN}batch", "", "", f"{OWN}size"]
    # exclude_outside: at an edge Pillow averages over what is there, and repeats nothing
    how = {"mode": "linear", "antialias": 1, "exclude_outside": 1}
    _node(model, "Resize", resized, "resized", coordinate_transformation_mode="half_pixel", **how)
    last = helper.make_node("Cast", [f"{OWN}resized"], [INPUT], f"{OWN}cast", to=TensorProto.FLOAT)
    graph.node.append(last)
    others = [entry for entry in graph.input if entry.name != INPUT]
    picture = helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["height", "width", 3])
    picture.doc_string = _TEXT
    del graph.input[:]
    graph.input.extend([picture, *others])


def _add_grey(model: ModelProto) -> str:
    """Add what makes grey of colours, as Pillow does; return its name."""
    _constant(model, "shares", np.array(_GREY, np.int32))
    _constant(model, "colours", np.array([2], np.int64))
    _constant(model, "half", np.array(32_768, np.int32))
    _constant(model, "unit", np.array(65_536, np.int32))
    _node(model, "Cast", [IMAGE], "whole", to=TensorProto.INT32)
    _node(model, "Mul", [f"{OWN}whole", f"{OWN}shares"], "weighed")
    _node(model, "ReduceSum", [f"{OWN}weighed", f"{OWN}colours"], "sum", keepdims=1)
    _node(model, "Add", [f"{OWN}sum", f"{OWN}half"], "raised")
    _node(model, "Div", [f"{OWN}raised", f"{OWN}unit"], "level")
    return _node(model, "Cast", [f"{OWN}level"], "grey", to=TensorProto.UINT8)


def _node(model: ModelProto, kind: str, reads: list[str], made: str, **how: Any) -> str:
    name = OWN + made
    model.graph.node.append(helper.make_node(kind, reads, [name], name, **how))
    return name


def _constant(model: ModelProto, name: str, value: NDArray[np.integer[Any]]) -> None:
    model.graph.initializer.append(numpy_helper.from_array(value, OWN + name))
