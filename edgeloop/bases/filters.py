"""A computed base: one layer of filters, or two, from a generator's images, and a projection.

That the images are a generator's is ours, and so is the second layer's form. Computed with `exact`,
so that the same images give the same bits everywhere.

Shape suffixes: N images, C channels of a map, M channels between the layers, F raw features, D
dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeloop.bases import blocks, exact
from edgeloop.bases.blocks import Block, Maps
from edgeloop.bases.exact import Matrix
from edgeloop.bases.recipe import BaseRecipe

LOW_FILTERS, LOW_THRESHOLD, LOW_PAD = 48, 0.5, 2
"""Of the layer below the second one."""
MIDDLE, MIDDLE_WHITENING = 32, 0.1
"""Channels between the layers, and what is added to their variances, in means of these."""
HIGH_PATCH, HIGH_THRESHOLD = 3, 0.7
"""Of the second layer."""
COLOURS, COLOUR_WEIGHT = 4, 0.05
"""Parts of a side that colours are averaged over, and their weight beside layers of length 1."""

_BATCH_SIZE = 50  # images whose answers are held in memory


@dataclass(frozen=True)
class Second:
    """The second layer, and what is below it.

    Attributes:
        low: filters of the image.
        mean_C: of their answers, averaged over 3 x 3 places and rooted.
        mix_MC: whitens these, less their mean, to M channels.
        high: filters of that.
    """

    low: Block
    mean_C: Matrix
    mix_MC: Matrix
    high: Block


@dataclass(frozen=True)
class Filters:
    """What `learn` finds: the numbers of a base.

    Attributes:
        recipe: how.
        shape: of one input: channels, height, width.
        first: the first layer.
        second: None for a base of one layer.
        centre_F: the mean of the raw features.
        project_FD: raw features, less their mean, to dimensions.
        variances_D: of each dimension over the images; their mean is near 1.
    """

    recipe: BaseRecipe
    shape: tuple[int, int, int]
    first: Block
    second: Second | None
    centre_F: Matrix
    project_FD: Matrix
    variances_D: Matrix


def learn(images: NDArray[np.uint8], recipe: BaseRecipe) -> Filters:
    """Find filters in images, and the directions in which their answers vary most.

    Args:
        images: (N, channels, height, width), as the clients' inputs are; a signal has height 1.
        recipe: how.

    Raises:
        ValueError: if the recipe asks for more than the images have, or they are too much alike.
    """
    if recipe.filters > blocks.PATCHES or recipe.second > blocks.PATCHES:
        raise ValueError(f"filters: more than the {blocks.PATCHES} patches that are drawn")
    shape = (images.shape[1], images.shape[2], images.shape[3])
    draw = np.random.default_rng(recipe.seed)
    maps = images / 127.5 - 1
    first = blocks.learn(
        maps,
        recipe.filters,
        patch=recipe.patch,
        stride=recipe.stride,
        pad=0,
        threshold=recipe.threshold,
        draw=draw,
    )
    second = _second(maps, recipe, draw) if recipe.second else None
    raw_NF = raw(maps, recipe, first, second)
    if recipe.dims > raw_NF.shape[1]:
        problem = f"dims: the filters make {raw_NF.shape[1]} numbers, fewer than"
        raise ValueError(f"{problem} {recipe.dims} dimensions")
    if recipe.dims >= len(raw_NF):  # as the projection would say after hours
        raise ValueError(f"they vary in {len(raw_NF) - 1} directions only")
    centre_F = exact.column_sums(raw_NF) / len(raw_NF)
    project_FD = exact.principal(raw_NF - centre_F, recipe.dims)
    spread_ND = exact.product(raw_NF - centre_F, project_FD)
    variances_D = exact.column_sums(spread_ND * spread_ND) / (len(images) - 1)
    scale = np.sqrt(exact.column_sums(variances_D[:, None])[0] / recipe.dims)
    return Filters(
        recipe=recipe,
        shape=shape,
        first=first,
        second=second,
        centre_F=centre_F,
        project_FD=project_FD / scale,
        variances_D=variances_D / scale**2,
    )


def _second(maps: Maps, recipe: BaseRecipe, draw: np.random.Generator) -> Second:
    stride = 1 if max(maps.shape[2:]) <= 32 else 2
    low = blocks.learn(
        maps,
        LOW_FILTERS,
        patch=recipe.patch,
        stride=stride,
        pad=LOW_PAD,
        threshold=LOW_THRESHOLD,
        draw=draw,
    )
    parts = [lowered(maps[s : s + _BATCH_SIZE], low) for s in range(0, len(maps), _BATCH_SIZE)]
    mean_C, mix_MC = _middle(parts)
    middle = np.concatenate([_mixed(part, mean_C, mix_MC) for part in parts])
    high = blocks.learn(
        middle,
        recipe.second,
        patch=HIGH_PATCH,
        stride=1,
        pad=0,
        threshold=HIGH_THRESHOLD,
        draw=draw,
    )
    return Second(low, mean_C, mix_MC, high)


def _middle(parts: list[Maps]) -> tuple[Matrix, Matrix]:
    """Return the mean of the lower layer's answers, and what whitens their first directions."""
    flat = np.concatenate([_in_rows(part) for part in parts])
    mean_C = exact.column_sums(flat) / len(flat)
    flat -= mean_C
    covariance = exact.product(flat.T, flat, fine=True) / (len(flat) - 1)
    del flat  # a fifth of a gigabyte
    values_C, vectors_CC = exact.eigen(covariance)
    order = np.argsort(-values_C, kind="stable")[:MIDDLE]
    kept_M = values_C[order]
    added = MIDDLE_WHITENING * exact.column_sums(kept_M[:, None])[0] / len(kept_M)
    mix_MC: Matrix = (vectors_CC[:, order] / np.sqrt(kept_M + added)).T
    return mean_C, mix_MC


def lowered(maps: Maps, low: Block) -> Maps:
    """Return the roots of the lower layer's answers, averaged over 3 x 3 places, every second."""
    answered = low.answers(maps)
    windows = np.lib.stride_tricks.sliding_window_view(answered, (3, 3), axis=(2, 3))
    nine = windows[:, :, ::2, ::2].reshape(-1, 9)
    means = exact.product(nine, np.full((9, 1), 1 / 9))[:, 0]
    rows, columns = ((side - 3) // 2 + 1 for side in answered.shape[2:])
    found: Maps = np.sqrt(np.maximum(means, 0)).reshape(len(maps), -1, rows, columns)
    return found


def _in_rows(maps: Maps) -> Matrix:
    """Return what is at each place of maps (N, C, rows, columns), a row for each."""
    return maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _mixed(below: Maps, mean_C: Matrix, mix_MC: Matrix) -> Maps:
    found = exact.product(_in_rows(below) - mean_C, mix_MC.T)
    return found.reshape(len(below), *below.shape[2:], -1).transpose(0, 3, 1, 2)


def raw(maps: Maps, recipe: BaseRecipe, first: Block, second: Second | None) -> Matrix:
    """Return the raw features (N, F) of images."""
    starts = range(0, len(maps), _BATCH_SIZE)
    found = [_raw(maps[s : s + _BATCH_SIZE], recipe, first, second) for s in starts]
    whole: Matrix = np.concatenate(found)
    return whole


def _raw(maps: Maps, recipe: BaseRecipe, first: Block, second: Second | None) -> Matrix:
    ways = [maps, maps[..., ::-1]] if recipe.mirrored else [maps]
    parts = [blocks.pool_grid(first.answers(way), recipe.grid) for way in ways]
    one = sum(parts) / len(ways)
    if second is None:
        return np.asarray(one)
    above = [
        blocks.pool_grid(
            second.high.answers(_mixed(lowered(way, second.low), second.mean_C, second.mix_MC)),
            recipe.grid,
        )
        for way in ways
    ]
    two = sum(above) / len(ways)
    colours = sum(_colours(way) for way in ways) / len(ways)
    scaled = [_of_length_one(np.asarray(each)) for each in (one, two)]
    return np.concatenate([*scaled, np.asarray(colours) * COLOUR_WEIGHT], axis=1)


def _colours(maps: Maps) -> Matrix:
    pool_LG = blocks.grid((maps.shape[2], maps.shape[3]), COLOURS)
    return exact.product(maps.reshape(-1, len(pool_LG)), pool_LG).reshape(len(maps), -1)


def _of_length_one(rows: Matrix) -> Matrix:
    found: Matrix = rows / np.maximum(exact.lengths(rows), 1e-12)[:, None]
    return found
