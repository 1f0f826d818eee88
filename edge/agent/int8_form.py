"""A classifier in whole numbers of 8 bits: calibrated on a device's own samples, behind a gate.

Weights and activations of convolutions and matrix products become int8, by static quantization in
the QDQ form: a QuantizeLinear and a DequantizeLinear around each, which every onnxruntime runs, and
which processors with int8 instructions run in them. It needs `onnx`.

Source: onnxruntime, "Quantize ONNX models"; ranges are those of the calibration samples (MinMax).
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge.agent import predict
from edge.agent.predict import INPUT, KEY
from edgeloop.errors import ModelError
from edgeloop.mixing import experts

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_LOST = 0.02
"""Accuracy that a quantized classifier may lose, whatever chance says."""

CALIBRATED, BATCH = 256, 32
"""Samples that ranges are taken of, at most, and so many at once."""

_KINDS = ["Conv", "Gemm", "MatMul"]


@dataclass(frozen=True)
class Quantized:
    """A quantized classifier beside the one that it was made of.

    Attributes:
        content: its file; None if it was not good enough, or could not be made.
        accuracy: of it, on the samples that decide; None if it could not be made.
        before: of the other.
        samples: so many decided.
        why: there is none; empty if there is one.
    """

    content: bytes | None
    accuracy: float | None
    before: float | None
    samples: int
    why: str = ""


def quantized(
    path: Path,
    inputs: NDArray[np.float32],
    held_out: tuple[NDArray[np.float32], NDArray[np.int64]],
    more: Mapping[str, str],
) -> Quantized:
    """Quantize a classifier, and compare both on samples that it was not calibrated by.

    Args:
        path: what `edge.agent.export` wrote.
        inputs: calibration samples (N, *shape), as the model takes them.
        held_out: inputs and labels that decide.
        more: what the file's metadata say besides.

    Raises:
        ModelError: if the classifier itself cannot be run.
    """
    deciding, labels = held_out
    if not len(inputs) or not len(labels):
        return Quantized(None, None, None, len(labels), "there are too few samples to decide by")
    before_N = experts.hits(_scores(path, deciding), labels)
    whole = float(before_N.mean())
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "int8.onnx")
        try:
            content = _static(path, made, inputs[:CALIBRATED], more)
            made.write_bytes(content)
            found_N = experts.hits(_scores(made, deciding), labels)
        except Exception as error:  # a tool's: without it the device has a classifier all the same
            why = f"it cannot be quantized ({' '.join(str(error).split())[:200]})"
            return Quantized(None, None, whole, len(labels), why)
    accuracy = float(found_N.mean())
    lost = whole - accuracy
    bad = experts.is_worse_hits(found_N, before_N) or lost > MOST_LOST
    why = f"it has {accuracy:.4f} right, and the one of floats {whole:.4f}" if bad else ""
    return Quantized(None if bad else content, accuracy, whole, len(labels), why)


def _scores(path: Path, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    model = predict.open_model(path)
    parts = [model.scores(inputs[n : n + BATCH]) for n in range(0, len(inputs), BATCH)]
    scores = np.concatenate(parts).astype(np.float64)
    if not experts.are_usable(scores):
        raise ModelError(str(path), "its scores are not numbers", "train it again")
    return scores


def _static(path: Path, made: Path, inputs: NDArray[np.float32], more: Mapping[str, str]) -> bytes:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    before = onnx.load(path)
    prepared = made.with_name("prepared.onnx")
    with _quiet():
        shape_inference.quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            made,
            _reader(inputs),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_KINDS,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
        )
    return _described(onnx.load(made), before, {**more, KEY + "form": "int8"})


def _described(model: "ModelProto", before: "ModelProto", more: Mapping[str, str]) -> bytes:
    """Return a model's file that says what the one says that it was made of."""
    import onnx

    known = {entry.key: entry.value for entry in before.metadata_props}
    onnx.helper.set_model_props(model, {**known, **more})
    model.producer_name, model.producer_version = before.producer_name, before.producer_version
    model.doc_string = before.doc_string
    texts = {each.name: each.doc_string for each in [*before.graph.input, *before.graph.output]}
    for each in [*model.graph.input, *model.graph.output]:
        each.doc_string = texts[each.name]
    content = bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(content)
    return content


def _reader(inputs: NDArray[np.float32]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):  # type: ignore[misc]  # has no types
        """Gives the samples, once."""

        def __init__(self) -> None:
            places = range(0, len(inputs), BATCH)
            self._left: Iterator[dict[str, NDArray[np.float32]]] = iter(
                [{INPUT: inputs[place : place + BATCH]} for place in places]
            )

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            """Return the next batch; None when there is none."""
            return next(self._left, None)

    return Batches()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's advice out of a device's log: it speaks on the root logger."""
    root = logging.getLogger()
    root.addFilter(_is_ours)
    try:
        yield
    finally:
        root.removeFilter(_is_ours)


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name != "root"
