"""Whether an exported classifier says what it was made from says; it needs no torch.

Shape suffixes: B samples, C classes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.agent.predict import open_model
from edgeloop.errors import ModelError

TOLERANCE = 1e-3
"""How far onnxruntime may be from what it was made from, in parts of the largest score."""


def compare_scores(
    path: Path, ours_BC: NDArray[np.float32], inputs: NDArray[np.float32], by: str
) -> float:
    """Compare an exported classifier's scores with those of what it was made from.

    Args:
        path: of the ONNX file.
        ours_BC: the scores that it should have; minus infinity for an unknown class.
        inputs: (B, *shape), such as a device's test samples; pixels where the model takes pixels.
        by: what computed our scores, such as torch; for messages.

    Returns:
        The largest difference of a finite score.

    Raises:
        ModelError: if a label or a score differs by more than `TOLERANCE`, or our own scores are
            not numbers.
    """
    theirs_BC = open_model(path).scores(np.ascontiguousarray(inputs, np.float32))
    known_BC = np.isfinite(ours_BC)
    if not (known_BC | np.isneginf(ours_BC)).all() or not known_BC.any(axis=1).all():
        raise ModelError(str(path), "its scores are not numbers", "train it with a smaller step")
    if (np.isfinite(theirs_BC) != known_BC).any():
        raise _differs(path, by, "knows other classes")
    tolerance = TOLERANCE * float(np.abs(ours_BC[known_BC]).max())
    lost_B = ours_BC.max(axis=1) - _chosen(ours_BC, theirs_BC)
    if (lost_B > tolerance).any():
        raise _differs(path, by, f"names another class for sample {int(lost_B.argmax())}")
    difference = float(np.abs(ours_BC[known_BC] - theirs_BC[known_BC]).max())
    if difference > tolerance:
        raise _differs(path, by, f"differs by {difference:.3g}, {tolerance:.3g} is allowed")
    return difference


def _chosen(ours_BC: NDArray[np.float32], theirs_BC: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return our scores (B,) of the classes that onnxruntime chose."""
    labels_B1 = theirs_BC.argmax(axis=1, keepdims=True)
    return np.take_along_axis(ours_BC, labels_B1, axis=1)[:, 0]


def _differs(path: Path, by: str, how: str) -> ModelError:
    return ModelError(str(path), f"onnxruntime, unlike {by}, {how}", "report it with the model")
