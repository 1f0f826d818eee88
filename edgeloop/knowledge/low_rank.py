"""Weights as the largest parts of a singular value decomposition, which is shorter: FedKD's way.

Wu, Wu, Lyu, Huang and Xie, Nature Communications 2022. https://arxiv.org/abs/2108.13323

A message has a rank for each tensor, and the floats of all of them: U, the singular values and V'
of a tensor that is factored, else the tensor as it is.

Shape suffixes: P parameters, F floats that travel, T tensors, M and N rows and columns of a
matrix, R its singular values.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Shapes = Sequence[tuple[int, ...]]
Array = npt.NDArray[Any]
RAW = -1
"""In the place of a rank: the tensor travels as it is."""


def compress(
    weights_P: Array, shapes: Shapes, share: float, repaired: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the ranks (T,) and the floats (F,) that weights travel as."""
    ranks, parts = [], []
    for part, shape in zip(split(weights_P, [math.prod(s) for s in shapes]), shapes, strict=True):
        rank, floats = factorize(part.reshape(shape), share, repaired)
        ranks.append(rank)
        parts.append(floats)
    return np.array(ranks, np.int64), np.concatenate(parts).astype(np.float32)


def factorize(tensor: Array, share: float, repaired: bool) -> tuple[int, Array]:
    """Return a tensor's rank and its floats; `RAW` and the tensor's own where it stays whole.

    The last two axes (M, N) make matrices, which share one rank. A tensor of fewer axes, of one
    row along the first, of zeros only, or with a value that is not finite has none.
    """
    if not is_factored(tensor.shape) or not tensor.any() or not np.isfinite(tensor).all():
        return RAW, tensor.ravel()
    left, values, right = np.linalg.svd(tensor, full_matrices=False)
    rank = kept_rank(values, share, repaired)
    if repaired and length(tensor.shape, rank) >= tensor.size:
        return RAW, tensor.ravel()
    kept = left[..., :rank], values[..., :rank], right[..., :rank, :]
    return rank, np.concatenate([part.ravel() for part in kept])


def is_factored(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor of this shape is a matrix, or many, and not one row."""
    return len(shape) > 1 and shape[0] > 1


def kept_rank(values: Array, share: float, repaired: bool) -> int:
    """Return k, the fewest singular values (..., R) whose squares exceed the share of all.

    Repaired, R of them where no fewer do; as released, none of them.
    """
    squares_R = np.square(values, dtype=np.float64).reshape(-1, values.shape[-1]).sum(axis=0)
    before_R = np.cumsum(squares_R) - squares_R
    enough = np.flatnonzero(before_R > share * squares_R.sum())
    return int(enough[0]) if len(enough) else len(squares_R) * repaired


def length(shape: tuple[int, ...], rank: int) -> int:
    """Return how many floats a tensor travels as.

    Raises:
        ValueError: if a tensor of this shape has no such rank.
    """
    if rank == RAW:
        return math.prod(shape)
    if not is_factored(shape) or not 0 <= rank <= min(shape[-2:]):
        raise ValueError(f"rank {rank} of a tensor of shape {shape}")
    return math.prod(shape[:-2]) * rank * (shape[-2] + 1 + shape[-1])


def lengths(ranks_T: Array, shapes: Shapes) -> list[int]:
    """Return how many floats each tensor travels as; see `length`."""
    return [length(shape, int(rank)) for shape, rank in zip(shapes, ranks_T, strict=True)]


def check_factors(ranks_T: Array, factors_F: Array, shapes: Shapes) -> None:
    """Refuse ranks and floats that these tensors cannot have sent.

    Raises:
        ValueError: if there are other ranks than the tensors can have, or more or fewer floats.
    """
    if len(ranks_T) != len(shapes):
        raise ValueError(f"{len(ranks_T)} ranks for {len(shapes)} tensors")
    expected = sum(lengths(ranks_T, shapes))
    if expected != len(factors_F):
        raise ValueError(f"{len(factors_F)} floats where the ranks make {expected}")


def reconstruct(ranks_T: Array, factors_F: Array, shapes: Shapes) -> npt.NDArray[np.float32]:
    """Return the weights (P,) that ranks and floats stand for.

    Raises:
        ValueError: if they do not fit the shapes.
    """
    check_factors(ranks_T, factors_F, shapes)
    parts = split(factors_F, lengths(ranks_T, shapes))
    whole = [
        product(part, shape, int(rank)).ravel()
        for part, shape, rank in zip(parts, shapes, ranks_T, strict=True)
    ]
    return np.concatenate(whole).astype(np.float32)


def product(floats: Array, shape: tuple[int, ...], rank: int) -> Array:
    """Return U diag(values) V' of one tensor's floats; the floats themselves where they are raw."""
    if rank == RAW:
        return floats
    *many, rows, columns = shape
    sizes = (*many, rows, rank), (*many, rank), (*many, rank, columns)
    parts = split(floats, [math.prod(size) for size in sizes])
    left, values, right = (part.reshape(size) for part, size in zip(parts, sizes, strict=True))
    scaled: Array = (left * values[..., np.newaxis, :]) @ right
    return scaled


def split(array: Array, sizes: Sequence[int]) -> list[Array]:
    """Return an array's parts of these sizes, one after the other."""
    return np.split(array, np.cumsum(sizes)[:-1])
