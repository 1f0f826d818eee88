"""One layer of filters, found by whitening and k-means of patches, in numbers and as it is applied.

Coates, Lee and Ng, AISTATS 2011; computed with `exact`, so that the same maps give the same bits.

Shape suffixes: N images or maps, P a patch's entries, L places of a patch, K filters, G parts of a
grid.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgeloop.bases import exact
from edgeloop.bases.exact import Matrix

OFFSET, WHITENING = 0.05, 0.1
"""Added to a patch's variance before its root divides it, and to the variances that whiten."""
PATCHES, ROUNDS = 6000, 8
"""Patches that filters are found in, and rounds of k-means."""

Maps = NDArray[np.float64]
"""(N, channels, height, width)"""


@dataclass(frozen=True)
class Block:
    """A layer of filters.

    Attributes:
        filters_KP: for patches of mean 0 and variance 1; each sums to 0.
        bias_K: taken off each answer.
        patch: a patch's sides.
        stride: between two patches.
        pad: pixels that are mirrored around the maps.
        threshold: below which an answer is nothing.
    """

    filters_KP: Matrix
    bias_K: Matrix
    patch: tuple[int, int]
    stride: int
    pad: int
    threshold: float

    def places(self, sides: tuple[int, int]) -> tuple[int, int]:
        """Return how many places there are in maps of these sides."""
        rows, columns = (
            (side + 2 * self.pad - cut) // self.stride + 1
            for side, cut in zip(sides, self.patch, strict=True)
        )
        return rows, columns

    def answers(self, maps: Maps) -> Maps:
        """Return what the filters answer (N, 2 K, rows, columns): both signs, above threshold."""
        patches_NLP = extract_patches(mirror_pad(maps, self.pad), self.patch, self.stride)
        flat = normalised(patches_NLP.reshape(-1, patches_NLP.shape[2]))
        found = exact.product(flat, self.filters_KP.T)
        found -= self.bias_K
        both = np.concatenate([found, -found], axis=1)
        both -= self.threshold
        np.maximum(both, 0, out=both)
        rows, columns = self.places((maps.shape[2], maps.shape[3]))
        return both.reshape(len(maps), rows, columns, -1).transpose(0, 3, 1, 2)


def learn(  # noqa: PLR0913 - all keywords: a layer's own sizes
    maps: Maps,
    filters: int,
    *,
    patch: int,
    stride: int,
    pad: int,
    threshold: float,
    draw: np.random.Generator,
) -> Block:
    """Find filters in patches of maps.

    Args:
        maps: to draw patches from.
        filters: K.
        patch: a side of a patch; less where a map is smaller.
        stride: of the layer.
        pad: of the layer.
        threshold: of the layer.
        draw: from which patches and first filters come.
    """
    sides = min(patch, maps.shape[2]), min(patch, maps.shape[3])
    patches_NP = normalised(_drawn(maps, sides, draw))
    mean_P = exact.column_sums(patches_NP) / len(patches_NP)
    whiten_PP = _whitening(patches_NP - mean_P)
    found_KP = _k_means(exact.product(patches_NP - mean_P, whiten_PP), filters, draw)
    whitened_KP = exact.product(found_KP, whiten_PP, fine=True)
    bias_K = exact.product(whitened_KP, mean_P[:, None], fine=True)[:, 0]
    means_K1 = exact.column_sums(whitened_KP.T)[:, None] / whitened_KP.shape[1]
    return Block(whitened_KP - means_K1, bias_K, sides, stride, pad, threshold)


def mirror_pad(maps: Maps, pad: int) -> Maps:
    """Return maps with so many pixels mirrored around them."""
    if not pad:
        return maps
    return np.pad(maps, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")


def extract_patches(maps: Maps, patch: tuple[int, int], stride: int) -> Maps:
    """Return the patches (N, L, P) of all places."""
    windows = sliding_window_view(maps, patch, axis=(2, 3))[:, :, ::stride, ::stride]
    ordered = windows.transpose(0, 2, 3, 1, 4, 5)
    return ordered.reshape(len(maps), -1, maps.shape[1] * patch[0] * patch[1])


def normalised(patches_NP: Matrix) -> Matrix:
    """Return patches of mean 0, and of variance 1 but for the offset."""
    size = patches_NP.shape[1]
    ones_P1 = np.ones((size, 1))
    means_N1 = exact.product(patches_NP, ones_P1) / size
    centred_NP = patches_NP - means_N1
    squares_N1 = exact.product(centred_NP * centred_NP, ones_P1)
    found: Matrix = centred_NP / np.sqrt(squares_N1 / max(size - 1, 1) + OFFSET)
    return found


def grid(sides: tuple[int, int], parts: int) -> Matrix:
    """Return the matrix (L, G) that averages the places of each part of a grid.

    Args:
        sides: how many places there are.
        parts: of a side; less where there are fewer places.
    """
    rows, columns = (_parts(side, min(parts, side)) for side in sides)
    whole: Matrix = np.einsum("ia,jb->ijab", rows, columns).reshape(
        sides[0] * sides[1], rows.shape[1] * columns.shape[1]
    )
    return whole


def pool_grid(maps: Maps, parts: int) -> Matrix:
    """Return the roots (N, channels G) of the means of each part of a grid."""
    pool_LG = grid((maps.shape[2], maps.shape[3]), parts)
    flat = maps.reshape(-1, len(pool_LG))
    found: Matrix = np.sqrt(np.maximum(exact.product(flat, pool_LG), 0))
    return found.reshape(len(maps), -1)


def _parts(places: int, parts: int) -> Matrix:
    """Return the matrix (places, parts) of adaptive average pooling."""
    found = np.zeros((places, parts))
    for part in range(parts):
        start, end = part * places // parts, -(-(part + 1) * places // parts)
        found[start:end, part] = 1 / (end - start)
    return found


def _drawn(maps: Maps, sides: tuple[int, int], draw: np.random.Generator) -> Matrix:
    """Return patches (PATCHES, P) from any places."""
    count, _, height, width = maps.shape
    which = draw.integers(0, count, PATCHES)
    rows = draw.integers(0, height - sides[0] + 1, PATCHES)
    columns = draw.integers(0, width - sides[1] + 1, PATCHES)
    parts = [
        maps[i, :, r : r + sides[0], c : c + sides[1]].reshape(-1)
        for i, r, c in zip(which, rows, columns, strict=True)
    ]
    return np.stack(parts).astype(np.float64)


def _whitening(centred_NP: Matrix) -> Matrix:
    covariance = exact.product(centred_NP.T, centred_NP, fine=True) / (len(centred_NP) - 1)
    values_P, vectors_PP = exact.eigen(covariance)
    return exact.product(vectors_PP / np.sqrt(values_P + WHITENING), vectors_PP.T, fine=True)


def _k_means(points_NP: Matrix, filters: int, draw: np.random.Generator) -> Matrix:
    """Return unit vectors (K, P), by spherical k-means; an empty one is drawn again."""
    chosen = draw.permutation(len(points_NP))[:filters]
    found = _unit(points_NP[chosen] + 1e-6)
    for _ in range(ROUNDS):
        nearest = exact.product(points_NP, found.T).argmax(1)
        of_NK = np.eye(len(found))[nearest]
        sums = exact.product(of_NK.T, points_NP)
        empty = ~of_NK.any(0)
        sums[empty] = draw.integers(-1000, 1001, (int(empty.sum()), points_NP.shape[1]))
        found = _unit(sums)
    return found


def _unit(rows: Matrix) -> Matrix:
    found: Matrix = rows / np.maximum(exact.lengths(rows), 1e-12)[:, None]
    return found
