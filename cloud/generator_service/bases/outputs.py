"""Which of an extractor's outputs a base has for features, and of what type its numbers are."""

from contextlib import suppress

import onnx
from onnx import TensorProto, helper

from edgeloop.bases.graph import Graph
from edgeloop.errors import BaseError, ConfigError

_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
"""What becomes single precision, as a base's features are."""


def chosen(model: onnx.ModelProto, wanted: str | None, name: str) -> str:
    """Return the output that is used: the one that is wanted, or the first.

    Raises:
        BaseError: if the file has none.
        ConfigError: if it has not the one that is wanted.
    """
    outputs = [str(each.name) for each in model.graph.output]
    if wanted is None:
        if not outputs:
            raise BaseError(name, "has no output", "export it again, with its features as output")
        return outputs[0]
    inner = {made for node in model.graph.node for made in node.output}
    if wanted not in inner:
        remedy = f"name one of {', '.join(outputs)}, or of the graph's inner ones"
        raise ConfigError("--output", f"{name} has no output {wanted!r}", remedy)
    return wanted


def as_single(graph: Graph, model: onnx.ModelProto, made: str, prefix: str, name: str) -> str:
    """Add what makes single precision of an output, where it is of another; return its name.

    Args:
        graph: to add to.
        model: the extractor's.
        made: its output.
        prefix: of its names in the graph.
        name: for messages.

    Raises:
        BaseError: if its entries are no real numbers.
    """
    kind = _type(model, made)
    if kind in (TensorProto.FLOAT, TensorProto.UNDEFINED):  # where nobody knows, running tells
        return prefix + made
    if kind not in _FLOATS:
        problem = f"its output {made!r} has entries of {TensorProto.DataType.Name(kind).lower()}"
        raise BaseError(name, f"{problem}, which are no features", "name another --output")
    cast = helper.make_node("Cast", [prefix + made], ["single"], to=TensorProto.FLOAT)
    graph.nodes.append(cast)
    return "single"


def _type(model: onnx.ModelProto, made: str) -> int:
    """Return the type of a tensor's entries, as its file says or as it follows."""
    with suppress(Exception):  # onnx's exceptions have no common base; running it tells
        model = onnx.shape_inference.infer_shapes(model)
    known = {e.name: e.type.tensor_type for e in (*model.graph.value_info, *model.graph.output)}
    found: int = known[made].elem_type if made in known else TensorProto.UNDEFINED
    return found
