"""Linear algebra with the same bits on every machine, whatever its BLAS, threads and processor.

A product of matrices of whole numbers is exact in float64, in any order of summing and with or
without fused operations, while no sum passes 2^53. So factors are first rounded to whole numbers of
as many bits as that allows, and the rest is elementwise: sums, products, quotients and roots, which
IEEE 754 rounds in one way only.

Shape suffixes: M, N, P any, D dimensions.
"""

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_MANTISSA = 53


_INNER, _AT_ONCE = 4096, 1 << 18
"""Entries of a row, and of a part of a factor, that are rounded at once: they stay in a cache."""


def product(a_MN: Matrix, b_NP: Matrix, fine: bool = False) -> Matrix:
    """Return a b, with each factor rounded to about 2^-21 of its largest entry.

    Computed in parts, whose sums of whole numbers are exact: the same bits, with less memory.

    Args:
        a_MN: finite.
        b_NP: finite.
        fine: round to about 2^-42 instead, in three products.
    """
    rows, inner = a_MN.shape
    bits = (_MANTISSA - math.ceil(math.log2(max(inner, 2)))) // 2
    a_scale, b_scale = _scale(_largest(a_MN), bits), _scale(_largest(b_NP), bits)
    a_unit = _scale(_largest_rest(a_MN, a_scale), bits) if fine else 1.0
    b_unit = _scale(_largest_rest(b_NP, b_scale), bits) if fine else 1.0
    found, below, beside = (np.zeros((rows, b_NP.shape[1])) for _ in range(3))
    many = max(1, _AT_ONCE // max(min(inner, _INNER), 1))
    for start in range(0, inner, _INNER):
        n = slice(start, start + _INNER)
        b_whole, b_rest = _rounded(b_NP[n], b_scale, b_unit, fine)
        for first in range(0, rows, many):
            m = slice(first, first + many)
            a_whole, a_rest = _rounded(a_MN[m, n], a_scale, a_unit, fine)
            found[m] += a_whole @ b_whole
            if fine:
                below[m] += a_rest @ b_whole
                beside[m] += a_whole @ b_rest
    found *= a_scale * b_scale
    if fine:
        found += below * (a_unit * b_scale) + beside * (a_scale * b_unit)
    return found


def _rounded(matrix: Matrix, scale: float, unit: float, fine: bool) -> tuple[Matrix, Matrix]:
    """Return whole numbers, of scales and of the units of what is left; the latter if fine."""
    whole: Matrix = matrix * (1 / scale)
    np.rint(whole, out=whole)
    if not fine:
        return whole, whole
    rest: Matrix = (matrix - whole * scale) * (1 / unit)
    np.rint(rest, out=rest)
    return whole, rest


def _largest(matrix: Matrix) -> float:
    return max(float(matrix.max(initial=0.0)), -float(matrix.min(initial=0.0)))


def _largest_rest(matrix: Matrix, scale: float) -> float:
    """Return the largest of what rounding to whole numbers of scales leaves."""
    found = 0.0
    many = max(1, _AT_ONCE // max(matrix.shape[1], 1))
    for first in range(0, len(matrix), many):
        part = matrix[first : first + many]
        whole, _ = _rounded(part, scale, 1.0, fine=False)
        found = max(found, _largest(part - whole * scale))
    return found


def _scale(largest: float, bits: int) -> float:
    """Return what a whole number of so many bits stands for: a power of two."""
    return math.ldexp(1.0, math.frexp(largest)[1] - bits) if largest else 1.0


def column_sums(matrix_MN: Matrix) -> Matrix:
    """Return the sums (N,) of each column."""
    sums: Matrix = product(np.ones((1, len(matrix_MN))), matrix_MN)[0]
    return sums


def lengths(matrix_MN: Matrix) -> Matrix:
    """Return each row's Euclidean length (M,)."""
    return np.sqrt(
        product(matrix_MN * matrix_MN, np.ones((matrix_MN.shape[1], 1)), fine=True)[:, 0]
    )


def eigen(symmetric_DD: Matrix, sweeps: int = 12) -> tuple[Matrix, Matrix]:
    """Return the eigenvalues (D,) of a symmetric matrix, and its eigenvectors as columns (D, D).

    Cyclic Jacobi rotations, as many at once as are independent (Brent and Luk, 1985); for some
    hundred dimensions.
    """
    size = len(symmetric_DD)
    even = size + size % 2
    a = np.zeros((even, even))
    a[:size, :size] = symmetric_DD
    v = np.eye(even)
    ring = np.arange(even)
    for _ in range(sweeps * (even - 1)):
        p, q = ring[: even // 2], ring[even // 2 :][::-1]
        cosine, sine = _rotations(a[p, p], a[q, q], a[p, q])
        _turn(a, p, q, cosine, sine)
        _turn(a.T, p, q, cosine, sine)
        _turn(v.T, p, q, cosine, sine)
        ring = np.concatenate([ring[:1], np.roll(ring[1:], 1)])
    return np.diag(a)[:size].copy(), v[:size, :size].copy()


def _rotations(app: Matrix, aqq: Matrix, apq: Matrix) -> tuple[Matrix, Matrix]:
    """Return the cosine and the sine of the turns that make the entries (p, q) zero."""
    none = np.abs(apq) < 1e-30 * (np.abs(app) + np.abs(aqq) + 1e-30)
    tau = (aqq - app) / (2 * np.where(none, 1.0, apq))
    tangent = np.where(tau >= 0, 1.0, -1.0) / (np.abs(tau) + np.sqrt(1 + tau * tau))
    tangent = np.where(none, 0.0, tangent)
    cosine = 1 / np.sqrt(1 + tangent * tangent)
    return cosine, cosine * tangent


def _turn(
    rows: Matrix, p: NDArray[np.int64], q: NDArray[np.int64], cosine: Matrix, sine: Matrix
) -> None:
    first, second = rows[p], rows[q]
    rows[p] = cosine[:, None] * first - sine[:, None] * second
    rows[q] = sine[:, None] * first + cosine[:, None] * second


def principal(centred_MN: Matrix, dims: int, rounds: int = 10, seed: int = 0) -> Matrix:
    """Return the directions (N, dims) of the largest variance, orthonormal, the largest first.

    Orthogonal iteration on the data itself; each step is made orthonormal by Cholesky's factor.

    Args:
        centred_MN: M samples of N values, their mean taken off.
        dims: at most N and less than M.
        rounds: of the iteration.
        seed: of the first directions.

    Raises:
        ValueError: if the samples vary in fewer directions than that.
    """
    width = centred_MN.shape[1]
    draw = np.random.default_rng(seed)
    found = draw.integers(-1000, 1001, (width, dims)).astype(np.float64)
    for _ in range(rounds):
        found = product(centred_MN.T, product(centred_MN, _orthonormal(found)))
    return _orthonormal(found, times=2)


def _orthonormal(columns_ND: Matrix, times: int = 1) -> Matrix:
    """Return orthonormal columns of the same span; twice fixes what once has lost to rounding."""
    for _ in range(times):
        upper = _cholesky(product(columns_ND.T, columns_ND, fine=True))
        columns_ND = product(columns_ND, _inverse(upper), fine=True)
    return columns_ND


def _cholesky(gram_DD: Matrix) -> Matrix:
    """Return the upper triangle U of a positive definite matrix U^T U."""
    rest = gram_DD.copy()
    upper = np.zeros_like(rest)
    least = float(np.diag(rest).max()) * 1e-11
    for i in range(len(rest)):
        if not rest[i, i] > least:
            raise ValueError(f"they vary in {i} directions only")
        upper[i, i:] = rest[i, i:] / np.sqrt(rest[i, i])
        rest[i:, i:] -= upper[i, i:, None] * upper[i, None, i:]
    return upper


def _inverse(upper_DD: Matrix) -> Matrix:
    """Return the inverse of an upper triangle, by halves."""
    size = len(upper_DD)
    if size == 1:
        return 1 / upper_DD
    half = size // 2
    found = np.zeros_like(upper_DD)
    found[:half, :half] = _inverse(upper_DD[:half, :half])
    found[half:, half:] = _inverse(upper_DD[half:, half:])
    corner = product(found[:half, :half], upper_DD[:half, half:], fine=True)
    found[:half, half:] = -product(corner, found[half:, half:], fine=True)
    return found
