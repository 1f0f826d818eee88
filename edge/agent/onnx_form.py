"""What an exported classifier's file says to a stranger: outputs, documentation, where it is from.

A classifier comes with one output, its scores. `completed` adds the name of the best class and the
softmax of the scores, and writes what they mean into the file. It needs `onnx`.

Shape suffixes: B samples, C classes.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import numpy as np

import edgeloop
from edge.agent.predict import CLASS_NAMES, INPUT, KEY, LABEL, OUTPUT, PIXELS, PROBABILITIES, SHAPE
from edge.agent.settings import NOT_STATED

if TYPE_CHECKING:
    from onnx import ModelProto

PRODUCER = "edgeloop"
RUNTIME = ">=1.20,<2"
"""The onnxruntime that reads what is written here; the extras install no other."""

OWN = "completed/"
"""Begins the names of what is added to a graph."""

_OUTPUTS = {
    LABEL: "name of the class with the highest score",
    PROBABILITIES: "softmax of the scores, in the order of the class names; not calibrated",
    OUTPUT: "higher is better, in the order of the class names; minus infinity for a class that the"
    " model does not know",
}


def _version() -> str:
    """Return this package's version; "unknown" of a tree that is on the path, and not installed."""
    try:
        return edgeloop.__version__
    except PackageNotFoundError:
        return "unknown"


def completed(
    model: "ModelProto",
    *,
    class_names: Sequence[str],
    shape: Sequence[int],
    pixels: bool,
    facts: Mapping[str, str],
) -> bytes:
    """Return a classifier's file for strangers, checked.

    Args:
        model: inputs `images` (B, *shape) to `scores` (B, C); it is changed.
        class_names: C of them.
        shape: of one input.
        pixels: whether inputs are pixels, 0 to 255.
        facts: where it is from, and its licence.

    Returns:
        An ONNX file with the outputs `label` (B,), `probabilities` (B, C) and `scores` (B, C).

    Raises:
        ValueError: if a fact has the name of other metadata.
    """
    import onnx  # when a model is exported

    version = _version()
    own = {CLASS_NAMES: list(class_names), SHAPE: list(shape), PIXELS: pixels}
    if own.keys() & facts.keys():
        raise ValueError(f"{sorted(own.keys() & facts.keys())} cannot be facts")
    _add_outputs(model, class_names)
    known = {entry.key: entry.value for entry in model.metadata_props}
    metadata = {name: json.dumps(value) for name, value in own.items()}
    metadata |= {"licence": NOT_STATED, "onnxruntime": RUNTIME, **facts}
    metadata |= {"version": version}
    described = {KEY + name: value for name, value in metadata.items()}
    onnx.helper.set_model_props(model, {**known, **described})
    model.producer_name, model.producer_version = PRODUCER, version
    model.doc_string = about(class_names, facts)
    _describe(model, shape, pixels)
    content: bytes = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(content, full_check=True)
    return content


def about(class_names: Sequence[str], facts: Mapping[str, str]) -> str:
    """Return in a few sentences what a model is."""
    known = {"device": "a device", "task": "a task", "algorithm": "an algorithm", **facts}
    round_ = f", round {facts['round']}" if "round" in facts else ""
    run = f", run {facts['run']}" if "run" in facts else ""
    return (
        f"Classifier of {len(class_names)} classes: {', '.join(class_names)}. Learned by"
        f" {known['device']} in {known['task']} with {known['algorithm']}{run}{round_}, with"
        f" edgeloop {_version()}. Licence: {facts.get('licence', NOT_STATED)}."
        f" Runs on onnxruntime {RUNTIME}."
    )


def input_text(shape: Sequence[int], pixels: bool) -> str:
    """Return what the input is, for its documentation."""
    sides = " x ".join(map(str, shape))
    if not pixels:
        return f"float32, batch x {sides}: values as the training data had them"
    colours = {1: "grey (ITU-R BT.601)", 3: "red, green, blue"}.get(shape[0], "channels first")
    return f"float32, batch x {sides}: pixels, 0 to 255, {colours}; the graph scales them itself"


def _add_outputs(model: "ModelProto", class_names: Sequence[str]) -> None:
    from onnx import TensorProto, helper, numpy_helper

    graph, batch = model.graph, model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    names = numpy_helper.from_array(np.array(list(class_names), object), f"{OWN}class_names")
    graph.initializer.append(names)
    best = f"{OWN}best"
    graph.node.extend(
        [
            helper.make_node("ArgMax", [OUTPUT], [best], f"{OWN}argmax", axis=1, keepdims=0),
            helper.make_node("Gather", [names.name, best], [LABEL], f"{OWN}name", axis=0),
            helper.make_node("Softmax", [OUTPUT], [PROBABILITIES], f"{OWN}softmax", axis=1),
        ]
    )
    shares = [batch, len(class_names)]
    made = [
        helper.make_tensor_value_info(LABEL, TensorProto.STRING, [batch]),
        helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, shares),
        *graph.output,
    ]
    del graph.output[:]
    graph.output.extend(made)


def _describe(model: "ModelProto", shape: Sequence[int], pixels: bool) -> None:
    for entry in model.graph.input:
        if entry.name == INPUT:
            entry.doc_string = input_text(shape, pixels)
    for made in model.graph.output:
        made.doc_string = _OUTPUTS[made.name]
