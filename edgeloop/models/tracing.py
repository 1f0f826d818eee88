"""Traces a torch module into an ONNX graph."""

import tempfile
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

if TYPE_CHECKING:
    import onnx

OPSET = 17

_ALONE = threading.Lock()
"""torch's exporter is one for the whole process, and so are filters of warnings."""

# torch 2.9 and newer deprecate the exporter that needs only `onnx`, in two places; the new one
# needs onnxscript and ten times the time, for the same graph.
_LEGACY = r"You are using the legacy TorchScript-based ONNX export|The feature will be removed\."

# Recurrent layers make their first state from the batch's size, which stays free.
_STATES = r"Exporting a model to ONNX with a batch_size other than 1, with a variable length"


def trace_graph(
    module: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], output: str
) -> "onnx.ModelProto":
    """Return a module's graph and weights; the first axis of every input and output is free.

    Args:
        module: in evaluation mode; of one output.
        inputs: examples, at least two samples each: other sizes than the batch's become constants.
        names: of the inputs.
        output: its name.

    Raises:
        RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError: if it cannot be.
    """
    import onnx  # when a model is exported, which is at a run's end

    with tempfile.TemporaryDirectory() as folder, _ALONE, warnings.catch_warnings():
        path = Path(folder, "model.onnx")
        warnings.filterwarnings("ignore", _LEGACY, DeprecationWarning)
        warnings.filterwarnings("ignore", _STATES, UserWarning)
        warnings.simplefilter("ignore", TracerWarning)  # the constants that the docstring names
        torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(names),
            output_names=[output],
            dynamic_axes={name: {0: "batch"} for name in [*names, output]},
        )
        return onnx.load(path)
