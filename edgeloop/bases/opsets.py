"""ONNX's versions: what an extractor was exported in, and what is built on it; needs `onnx`.

An extractor may come in any version of ONNX's operators (opset), of which the operators of another
graph mean something else, or are none. A classifier is one graph of both, so that one of them is
brought to the version of the other. Versions 11 to 17 take what is added as it is.
"""

import onnx
from onnx import inliner

from edgeloop.bases.graph import IR_VERSION, OPSET
from edgeloop.errors import BaseError

LEAST = 11
"""The first version in which Clip and Resize are what is added here."""
AXES_AS_INPUT = 18
"""The first version in which a reduction's axes are an input, no attribute."""
_LEAST_IR = 4
"""The first of the file format in which a weight need not be an input, too."""


def version_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators in a model."""
    return max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=1)


def brought_up(model: onnx.ModelProto, name: str, least: int = LEAST) -> onnx.ModelProto:
    """Return a model in a version that has what is added to it; the same one if it has already.

    Args:
        model: whose functions of its own, if it has some, are written out; it may be changed.
        name: for messages.
        least: a version of its operators; from an older one it is brought to `OPSET`.

    Raises:
        BaseError: if it cannot be.
    """
    old = version_of(model)
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        if old < least:
            model = onnx.version_converter.convert_version(_with_format(model), OPSET)
    except Exception as error:  # onnx's exceptions have no common base but Exception
        reason = " ".join(str(error).split())[:200]
        problem = f"cannot be brought from version {old} of ONNX's operators to {OPSET} ({reason})"
        raise BaseError(name, problem, f"export it with opset {OPSET}") from error
    return _with_format(model)


def converted(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return a model of ours in a newer version of ONNX's operators, or as it is."""
    if version <= version_of(model):
        return model
    return onnx.version_converter.convert_version(model, version)


def _with_format(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in a file format in which its weights need not be inputs."""
    if model.ir_version < _LEAST_IR:
        model.ir_version = IR_VERSION
    return model
