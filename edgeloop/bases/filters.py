"""A computed base: filters from patches of images, by whitening and k-means, and a projection.

Features of one layer of k-means filters: Coates, Lee and Ng, AISTATS 2011. That the images are a
generator's is ours. Computed with `exact`, so that the same images give the same bits everywhere.

Shape suffixes: N images, P a patch's entries, L places of a patch, K filters, G parts of the grid,
F raw features (2 K G), D dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgeloop.bases import exact
from edgeloop.bases.exact import Matrix
from edgeloop.bases.recipe import Recipe

_AT_ONCE = 100  # images whose answers are held in memory


@dataclass(frozen=True)
class Filters:
    """What `learn` finds: the numbers of a base.

    Attributes:
        recipe: how.
        shape: of one input: channels, height, width.
        whitened_KP: the filters, for patches of mean 0 and variance 1.
        bias_K: taken off each answer.
        centre_F: the mean of the raw features.
        project_FD: raw features, less their mean, to dimensions.
        variances_D: of each dimension over the images; their mean is near 1.
    """

    recipe: Recipe
    shape: tuple[int, int, int]
    whitened_KP: Matrix
    bias_K: Matrix
    centre_F: Matrix
    project_FD: Matrix
    variances_D: Matrix


def learn(images: NDArray[np.uint8], recipe: Recipe) -> Filters:
    """Find filters in images, and the directions in which their answers vary most.

    Args:
        images: (N, channels, height, width), as the clients' inputs are; a signal has height 1.
        recipe: how.

    Raises:
        ValueError: if a patch does not fit in an image, or the images are too much alike.
    """
    _, channels, height, width = images.shape
    shape = (channels, height, width)
    _check_fits(recipe, shape)
    draw = np.random.default_rng(recipe.seed)
    patches_NP = _normalised(_drawn(images, recipe, draw), recipe.offset)
    mean_P = exact.column_sums(patches_NP) / len(patches_NP)
    whiten_PP = _whitening(patches_NP - mean_P, recipe.whitening)
    found_KP = _k_means(exact.product(patches_NP - mean_P, whiten_PP), recipe, draw)
    whitened_KP = exact.product(found_KP, whiten_PP)
    bias_K = exact.product(whitened_KP, mean_P[:, None])[:, 0]
    raw_NF = answers(images, recipe, whitened_KP, bias_K)
    centre_F = exact.column_sums(raw_NF) / len(raw_NF)
    project_FD = exact.principal(raw_NF - centre_F, recipe.dims)
    spread_ND = exact.product(raw_NF - centre_F, project_FD)
    variances_D = exact.column_sums(spread_ND * spread_ND) / (len(images) - 1)
    scale = np.sqrt(exact.column_sums(variances_D[:, None])[0] / recipe.dims)
    return Filters(
        *(recipe, shape, whitened_KP, bias_K, centre_F),
        *(project_FD / scale, variances_D / scale**2),
    )


def sides(recipe: Recipe, shape: tuple[int, int, int]) -> tuple[tuple[int, int], ...]:
    """Return a patch's sides, the places in each direction, and the grid's parts."""
    patch = (min(recipe.patch, shape[1]), min(recipe.patch, shape[2]))
    places = tuple(
        (side - cut) // recipe.stride + 1 for side, cut in zip(shape[1:], patch, strict=True)
    )
    grid = tuple(min(recipe.grid, place) for place in places)
    return patch, (places[0], places[1]), (grid[0], grid[1])


def pooling(recipe: Recipe, shape: tuple[int, int, int]) -> Matrix:
    """Return the matrix (L, G) that averages the places of each part of the grid."""
    _, places, grid = sides(recipe, shape)
    rows, columns = (_parts(*pair) for pair in zip(places, grid, strict=True))
    whole: Matrix = np.einsum("ia,jb->ijab", rows, columns).reshape(
        places[0] * places[1], grid[0] * grid[1]
    )
    return whole


def _parts(places: int, parts: int) -> Matrix:
    """Return the matrix (places, parts) of adaptive average pooling."""
    found = np.zeros((places, parts))
    for part in range(parts):
        start, end = part * places // parts, -(-(part + 1) * places // parts)
        found[start:end, part] = 1 / (end - start)
    return found


def answers(
    images: NDArray[np.uint8], recipe: Recipe, whitened_KP: Matrix, bias_K: Matrix
) -> Matrix:
    """Return the raw features (N, F) of images."""
    parts = [images[start : start + _AT_ONCE] for start in range(0, len(images), _AT_ONCE)]
    ways = [False, True] if recipe.mirrored else [False]
    found = [
        sum(_answered(part[..., :: -1 if way else 1], recipe, whitened_KP, bias_K) for way in ways)
        for part in parts
    ]
    whole: Matrix = np.concatenate(found) / len(ways)
    return whole


def _answered(
    images: NDArray[np.uint8], recipe: Recipe, whitened_KP: Matrix, bias_K: Matrix
) -> Matrix:
    count, channels, height, width = images.shape
    cut = _cut(images, recipe)
    patches = _normalised(cut.reshape(-1, cut.shape[-1]), recipe.offset)
    found = exact.product(patches, whitened_KP.T)
    found -= bias_K
    pool_LG = pooling(recipe, (channels, height, width))
    pooled = [_pooled(sign * found, recipe.threshold, pool_LG) for sign in (1.0, -1.0)]
    return np.concatenate(pooled, axis=1).reshape(count, -1)


def _pooled(found: Matrix, threshold: float, pool_LG: Matrix) -> Matrix:
    """Return the roots (N, K, G) of the mean answers above a threshold, of answers (N L, K)."""
    found -= threshold
    np.maximum(found, 0, out=found)
    places, parts = pool_LG.shape
    maps = found.reshape(-1, places, found.shape[1]).transpose(1, 0, 2).reshape(places, -1)
    pooled = np.sqrt(np.maximum(exact.product(pool_LG.T, maps), 0))
    return pooled.reshape(parts, -1, found.shape[1]).transpose(1, 2, 0)


def _cut(images: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.int64]:
    """Return the patches (N, L, P) of all places, as whole numbers."""
    shape = (images.shape[1], images.shape[2], images.shape[3])
    patch, _, _ = sides(recipe, shape)
    windows = sliding_window_view(images, patch, axis=(2, 3))
    windows = windows[:, :, :: recipe.stride, :: recipe.stride]
    ordered = windows.transpose(0, 2, 3, 1, 4, 5)
    return ordered.reshape(len(images), -1, shape[0] * patch[0] * patch[1]).astype(np.int64)


def _drawn(
    images: NDArray[np.uint8], recipe: Recipe, draw: np.random.Generator
) -> NDArray[np.int64]:
    """Return patches (any, P) from any places."""
    count, channels, height, width = images.shape
    (tall, wide), _, _ = sides(recipe, (channels, height, width))
    which = draw.integers(0, count, recipe.patches)
    rows = draw.integers(0, height - tall + 1, recipe.patches)
    columns = draw.integers(0, width - wide + 1, recipe.patches)
    cut = [
        images[i, :, r : r + tall, c : c + wide].reshape(-1)
        for i, r, c in zip(which, rows, columns, strict=True)
    ]
    return np.stack(cut).astype(np.int64)


def _normalised(patches: NDArray[np.int64], offset: float) -> Matrix:
    """Return pixels' patches as mean 0, and variance 1 but for the offset; in units of [-1, 1]."""
    size = patches.shape[1]
    sums = patches.sum(1)
    squares = (patches * patches).sum(1)
    scatter = (squares * size - sums * sums) / size  # both whole: exact up to the division
    variance = scatter / (max(size - 1, 1) * 127.5**2)
    centred = (patches * size - sums[:, None]) / (size * 127.5)
    found: Matrix = centred / np.sqrt(variance + offset)[:, None]
    return found


def _whitening(centred_NP: Matrix, added: float) -> Matrix:
    covariance = exact.product(centred_NP.T, centred_NP, fine=True) / (len(centred_NP) - 1)
    values_P, vectors_PP = exact.eigen(covariance)
    return exact.product(vectors_PP / np.sqrt(values_P + added), vectors_PP.T, fine=True)


def _k_means(points_NP: Matrix, recipe: Recipe, draw: np.random.Generator) -> Matrix:
    """Return unit vectors (K, P), by spherical k-means; an empty one is drawn anew."""
    chosen = draw.permutation(len(points_NP))[: recipe.filters]
    found = _unit(points_NP[chosen] + 1e-6)
    for _ in range(recipe.rounds):
        nearest = exact.product(points_NP, found.T).argmax(1)
        of_NK = np.eye(len(found))[nearest]
        sums = exact.product(of_NK.T, points_NP)
        empty = ~of_NK.any(0)
        sums[empty] = draw.integers(-1000, 1001, (int(empty.sum()), points_NP.shape[1]))
        found = _unit(sums)
    return found


def _unit(rows: Matrix) -> Matrix:
    return rows / np.maximum(exact.lengths(rows), 1e-12)[:, None]


def _check_fits(recipe: Recipe, shape: tuple[int, int, int]) -> None:
    _, _, grid = sides(recipe, shape)
    raw = 2 * recipe.filters * grid[0] * grid[1]
    if recipe.dims > raw:
        problem = f"dims: {recipe.filters} filters on a grid of {grid[0]} x {grid[1]}"
        raise ValueError(f"{problem} make {raw} numbers, fewer than {recipe.dims} dimensions")
    if recipe.filters > recipe.patches:
        raise ValueError(f"filters: {recipe.filters} of {recipe.patches} patches")
