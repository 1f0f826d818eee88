"""Linear algebra that does not depend on the machine."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeloop.bases import exact

ROOT = Path(__file__).parents[2]


def drawn(*shape: int) -> exact.Matrix:
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize(("fine", "error"), [(False, 1e-4), (True, 1e-10)])
def test_a_product_is_near_the_true_one(fine: bool, error: float) -> None:
    a, b = drawn(40, 300), drawn(300, 20) * 7
    assert np.abs(exact.product(a, b, fine) - a @ b).max() < error * 300


def test_a_product_does_not_depend_on_the_order_of_summing() -> None:
    a, b = drawn(30, 500), drawn(500, 10)
    order = np.random.default_rng(1).permutation(500)
    assert (exact.product(a[:, order], b[order]) == exact.product(a, b)).all()
    assert (a[:, order] @ b[order] != a @ b).any()  # or this test could not fail


def in_one_piece(a: exact.Matrix, b: exact.Matrix, fine: bool) -> exact.Matrix:
    """Return what `product` returns, without its parts: Python's whole numbers are exact."""
    bits = (53 - math.ceil(math.log2(max(a.shape[1], 2)))) // 2

    def whole(matrix: exact.Matrix) -> tuple[exact.Matrix, float]:
        scale = math.ldexp(1.0, math.frexp(float(np.abs(matrix).max()))[1] - bits)
        return np.rint(matrix / scale), scale

    (x, s), (y, t) = whole(a), whole(b)
    found = (x.astype(object) @ y.astype(object)).astype(float) * (s * t)
    if fine:
        (u, v), (w, z) = whole(a - x * s), whole(b - y * t)
        below, beside = (
            (p.astype(object) @ q.astype(object)).astype(float) for p, q in ((u, y), (x, w))
        )
        found += below * (v * t) + beside * (s * z)
    return np.asarray(found, np.float64)


@pytest.mark.parametrize("fine", [False, True])
@pytest.mark.parametrize("shape", [(2, 9001, 3), (3, 4097, 2), (270, 1000, 2), (1, 3, 1)])
def test_the_parts_of_a_product_do_not_show(shape: tuple[int, int, int], fine: bool) -> None:
    """The largest entry, which decides how all are rounded, is in one part only."""
    a, b = drawn(*shape[:2]), drawn(*shape[1:]) * 3
    a[-1, -1], b[0, 0] = 900.0, -70.0
    for left in (a, np.asfortranarray(a)):
        assert (exact.product(left, b, fine) == in_one_piece(a, b, fine)).all()


def test_products_of_nothing_and_of_zeros() -> None:
    assert exact.product(np.zeros((2, 3)), np.zeros((3, 4))).tolist() == [[0.0] * 4] * 2
    assert exact.product(np.zeros((0, 3)), drawn(3, 4)).shape == (0, 4)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_eigenvalues_and_vectors(size: int) -> None:
    matrix = drawn(size, size)
    symmetric = matrix + matrix.T
    values, vectors = exact.eigen(symmetric)
    assert np.allclose(np.sort(values), np.linalg.eigvalsh(symmetric))
    assert np.allclose(vectors @ np.diag(values) @ vectors.T, symmetric)


def test_principal_directions() -> None:
    data = drawn(200, 30) * np.geomspace(10, 0.1, 30)
    data -= data.mean(0)
    found = exact.principal(data, 5)
    expected = np.linalg.eigh(data.T @ data)[1][:, ::-1][:, :5]
    assert np.allclose(found.T @ found, np.eye(5), atol=1e-8)
    best, got = (((data @ each) ** 2).sum() for each in (expected, found))
    assert 0.999 * best < got <= best
    variances = ((data @ found) ** 2).sum(0)
    assert (np.diff(variances) < 0).all()


def test_too_few_directions_are_said() -> None:
    flat = np.outer(np.arange(20.0) - 9.5, np.ones(6))
    with pytest.raises(ValueError, match="they vary in 1 directions only"):
        exact.principal(flat, 3)


PROGRAM = """
import hashlib, numpy as np
from edgeloop.bases import filters, graph, recipe
images = np.random.default_rng(0).integers(0, 256, (60, 3, 16, 16), np.uint8)
small = recipe.BaseRecipe(filters=8, second=5, dims=6, images=60, stride=2, mirrored=True)
print(hashlib.sha256(graph.graph_of_filters(filters.learn(images, small), (3, 16, 16))).hexdigest())
"""


def identity(**changes: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    words = [sys.executable, "-c", PROGRAM]
    return subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def here() -> str:
    return identity(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")


@pytest.mark.parametrize("kernel", ["Haswell", "Nehalem", "Prescott"])
def test_a_base_has_the_same_bits_with_other_kernels_and_threads(here: str, kernel: str) -> None:
    """OpenBLAS chooses its kernels by the processor; they sum in other orders."""
    assert identity(OPENBLAS_CORETYPE=kernel, OPENBLAS_NUM_THREADS="2") == here
