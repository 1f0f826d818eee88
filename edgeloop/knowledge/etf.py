"""The simplex equiangular tight frame (ETF) as a fixed classifier, and the margin loss on it.

Shape suffixes: B samples, C classes; the frame lies in C dimensions, so a unit vector is C long.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-7
"""How far from 1 a cosine is kept, so that rounding cannot take it out of arccos' range."""


def frame(classes: int, seed: int) -> Tensor:
    """Return the vectors (C, C) of all classes, one a column, of length 1.

    Any two meet at the same angle, whose cosine is -1/(C - 1), the widest that C vectors can have:
    sqrt(C/(C - 1)) P (I - 11'/C), with P orthonormal from the QR decomposition of a random matrix.
    Computed in double precision, where the decomposition is orthonormal at the first draw.
    """
    drawn_CC = np.random.default_rng(seed).random((classes, classes))
    basis_CC = np.linalg.qr(drawn_CC).Q
    scale = math.sqrt(classes / max(classes - 1, 1))
    vectors_CC = scale * basis_CC @ (np.eye(classes) - 1 / classes)
    lengths_C = np.linalg.norm(vectors_CC, axis=0).clip(min=1e-12)
    return torch.from_numpy((vectors_CC / lengths_C).astype(np.float32))


def cosines(projections_BC: Tensor, frame_CC: Tensor) -> Tensor:
    """Return the cosines (B, C) between projections of any length and every class's vector."""
    return F.normalize(projections_BC, dim=1) @ frame_CC


def arcface_loss(cosines_BC: Tensor, labels_B: Tensor, margin: float, scale: float) -> Tensor:
    """Return the additive angular margin loss, a scalar.

    Cross-entropy over scaled cosines, with a sample's own class turned away by the margin.

    Args:
        cosines_BC: between samples and classes.
        labels_B: the samples' classes.
        margin: m, radians.
        scale: s.

    Source: Deng et al., ArcFace, CVPR 2019; without its easy margin, as FedKTL has it.
    """
    own_B1 = labels_B.unsqueeze(1)
    angles_B1 = torch.acos(cosines_BC.gather(1, own_B1).clamp(EPSILON - 1, 1 - EPSILON))
    turned_BC = cosines_BC.scatter(1, own_B1, torch.cos(angles_B1 + margin))
    return F.cross_entropy(scale * turned_BC, labels_B)
