"""ONNX graphs that loop 2^62 times, for tests of who refuses them."""

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

TIMES = 2**62


def add_loop(model: onnx.ModelProto, place: str, within: str = "") -> bytes:
    """Return a model whose value of this name is made by a loop that nearly never ends.

    Args:
        model: any, with one node that makes the value.
        place: the value's name.
        within: "if" for a loop in the branch of an If; "function" for one in a local function.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    made = next(node for node in changed.graph.node if place in node.output)
    made.output[list(made.output).index(place)] = "before"
    constants = [
        helper.make_tensor("times", TensorProto.INT64, [], [TIMES]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
    ]
    changed.graph.initializer.extend(constants)
    loop = helper.make_node("Loop", ["times", "yes", "before"], [place], body=_body())
    if within == "if":
        branch = helper.make_graph([loop], "branch", [], [_float(place)])
        loop = helper.make_node("If", ["yes"], [place], then_branch=branch, else_branch=branch)
    if within == "function":
        inputs, outputs = ["times", "yes", "before"], ["after"]
        inner = helper.make_node("Loop", inputs, outputs, body=_body())
        opsets = [helper.make_opsetid("", 17)]
        changed.functions.append(
            helper.make_function("ours", "Twice", inputs, outputs, [inner], opsets)
        )
        changed.opset_import.append(helper.make_opsetid("ours", 1))
        loop = helper.make_node("Twice", inputs, [place], domain="ours")
    after = list(changed.graph.node)
    del changed.graph.node[:]
    index = next(n for n, node in enumerate(after) if "before" in node.output) + 1
    changed.graph.node.extend([*after[:index], loop, *after[index:]])
    return bytes(changed.SerializeToString(deterministic=True))


def _body() -> onnx.GraphProto:
    nodes = [
        helper.make_node("Identity", ["on"], ["goes_on"]),
        helper.make_node("Add", ["value", "value"], ["doubled"]),
    ]
    inputs = [_typed("turn", TensorProto.INT64, []), _typed("on", TensorProto.BOOL, [])]
    outputs = [_typed("goes_on", TensorProto.BOOL, []), _float("doubled")]
    return helper.make_graph(nodes, "body", [*inputs, _float("value")], outputs)


def _float(name: str) -> onnx.ValueInfoProto:
    return _typed(name, TensorProto.FLOAT, None)


def _typed(name: str, kind: int, shape: Sequence[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)
