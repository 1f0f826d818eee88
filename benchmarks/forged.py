"""Uploads as forgers send them; see `benchmarks.attacks`.

Shape suffixes: N prototypes, D their entries, P parameters, C classes, K features.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from edgeloop.models import SplitModel
from edgeloop.protocol import wire

TIMES = 1000.0
"""By which an upload is scaled."""


def forging(attack: str, model: SplitModel) -> Callable[[Any], Any]:
    """Return what makes an upload of an honest one.

    Args:
        attack: of `attacks.ATTACKS`.
        model: a forger's.
    """
    if attack == "absent":
        return lambda upload: None
    if attack == "sign":
        return lambda upload: multiplied(upload, -1.0)
    if attack == "scale":
        return lambda upload: multiplied(upload, TIMES)
    if attack == "backdoor":
        head = sum(each.numel() for each in model.head.parameters())
        return lambda upload: backdoored(upload, head, model.classes)
    return lambda upload: upload


def multiplied(upload: Any, factor: float) -> Any:
    """Return an upload with all its floats multiplied."""
    floats = {n: each for n, each in wire.arrays(upload).items() if each.dtype.kind == "f"}
    return replace(upload, **{n: (factor * each).astype(each.dtype) for n, each in floats.items()})


def backdoored(upload: Any, head: int, classes: int) -> Any:
    """Return an upload whose classes 0 and 1 have changed places, three times as large.

    Args:
        upload: prototypes, or a model's weights, whose head comes last.
        head: parameters of it, C x K weights and C biases.
        classes: C.
    """
    if hasattr(upload, "prototypes_ND"):
        rows = {label: row for row, label in enumerate(upload.labels_N.tolist())}
        forged_ND = upload.prototypes_ND.copy()
        for one, other in ((0, 1), (1, 0)):
            if one in rows and other in rows:
                forged_ND[rows[one]] = 3 * upload.prototypes_ND[rows[other]]
        return replace(upload, prototypes_ND=forged_ND)
    forged_P = upload.weights_P.copy()
    weights_CK = forged_P[-head:-classes].reshape(classes, -1)
    weights_CK[[0, 1]] = 3 * weights_CK[[1, 0]]
    forged_P[-classes:][[0, 1]] = 3 * forged_P[-classes:][[1, 0]]
    return replace(upload, weights_P=forged_P)
