"""Generated inputs as PNG, and prototypes on a plane.

Shape suffixes: N points, D entries of a point, P entries of one input.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

SIDE = 56  # pixels that a picture has at least, where it can by whole numbers


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane that points differ most in.

    Attributes:
        mean_D: the points' mean, which becomes (0, 0).
        axes_2D: two unit vectors; zeros where the points do not differ in a second direction.
        shares_2: which share of the points' variance lies along each.
    """

    mean_D: NDArray[np.float64]
    axes_2D: NDArray[np.float64]
    shares_2: NDArray[np.float64]

    def project(self, points_ND: Array) -> NDArray[np.float64]:
        """Return points' coordinates on the plane, (N, 2)."""
        placed: NDArray[np.float64] = (points_ND - self.mean_D) @ self.axes_2D.T
        return placed


def plane(points_ND: Array) -> Plane:
    """Find the plane of the first two principal components, by singular value decomposition.

    An axis points to where its largest entry is positive, so that the map is the same everywhere.

    Args:
        points_ND: one or more, finite.
    """
    mean_D = points_ND.mean(axis=0, dtype=np.float64)
    _, sizes, rows_KD = np.linalg.svd(points_ND - mean_D, full_matrices=False)
    kept = min(2, int((sizes > 1e-9 * max(float(sizes[0]), 1e-300)).sum()))
    axes_2D, shares_2 = np.zeros((2, len(mean_D))), np.zeros(2)
    largest = np.abs(rows_KD[:kept]).argmax(axis=1)
    signs = np.sign(rows_KD[np.arange(kept), largest])
    axes_2D[:kept] = rows_KD[:kept] * signs[:, None]
    shares_2[:kept] = sizes[:kept] ** 2 / (sizes**2).sum()
    return Plane(mean_D, axes_2D, shares_2)


def picture(input_P: Array, shape: tuple[int, ...]) -> str:
    """Return an input as a PNG in a data URL; see `png`."""
    return f"data:image/png;base64,{base64.b64encode(png(input_P, shape)).decode()}"


def png(input_P: Array, shape: tuple[int, ...]) -> bytes:
    """Return an input as a PNG, its pixels repeated until it is large enough.

    Args:
        input_P: uint8, (P,).
        shape: of the input, channels first. One or three channels of two rows or more are an
            image, grey or coloured; anything else is a signal, a row of grey pixels a channel.
    """
    content = io.BytesIO()
    Image.fromarray(_large(input_P, shape)).save(content, format="PNG", optimize=True)
    return content.getvalue()


def _large(input_P: Array, shape: tuple[int, ...]) -> Array:
    if len(shape) == 3 and shape[0] in (1, 3) and shape[1] > 1:
        pixels: Array = input_P.reshape(shape).transpose(1, 2, 0)
        pixels = pixels[..., 0] if shape[0] == 1 else pixels
        times = max(1, -(-SIDE // max(shape[1:])))
        return np.ascontiguousarray(pixels.repeat(times, axis=0).repeat(times, axis=1))
    rows = input_P.reshape(shape[0], -1)
    return rows.repeat(max(1, -(-SIDE // len(rows))), axis=0)


def evenly_spaced(count: int, most: int = 12) -> list[int]:
    """Choose up to `most` of `count` places evenly, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
