import numpy as np
import numpy.typing as npt
import pytest

from edgeloop.knowledge import low_rank
from edgeloop.knowledge.low_rank import RAW


def small(*rows: tuple[float, ...]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("share", "released", "repaired"), [(0.5, 1, 1), (0.85, 1, 1), (0.9, 0, 2), (1.0, 0, 2)]
)
def test_the_rank_by_hand(share: float, released: int, repaired: int) -> None:
    # Squares 9 and 1: one of them has 0.9 of all, which must be more than the share.
    values = np.array([3.0, 1.0])
    assert low_rank.kept_rank(values, share, repaired=False) == released
    assert low_rank.kept_rank(values, share, repaired=True) == repaired


def test_the_matrices_of_a_tensor_share_one_rank() -> None:
    # Squares (4, 4, 0) and (16, 0, 0): together 20, 4 and 0 of 24, so that one has 0.83 of all;
    # alone the first would need two.
    values = np.array([[2.0, 2.0, 0.0], [4.0, 0.0, 0.0]])
    assert low_rank.kept_rank(values, 0.8, repaired=False) == 1
    assert low_rank.kept_rank(values, 0.9, repaired=False) == 2


def test_factors_by_hand() -> None:
    # 5 (0.6, 0.8)' (1, 0, 0): one singular value. The share's rank is 1, 2 + 1 + 3 floats.
    rank, floats = low_rank.factorize(small((3, 0, 0), (4, 0, 0)), 0.95, repaired=False)
    assert rank == 1
    np.testing.assert_allclose(np.abs(floats), [0.6, 0.8, 5, 1, 0, 0], atol=1e-6)
    whole = low_rank.reconstruct(np.array([1]), floats, [(2, 3)])
    np.testing.assert_allclose(whole, [3, 0, 0, 4, 0, 0], atol=1e-6)


def test_compression_drops_the_small_singular_values() -> None:
    left, right = np.linalg.qr(np.arange(36.0).reshape(6, 6) % 7)[0], np.eye(6, 8)[:, ::-1]
    values = np.array([5.0, 4, 3, 0.1, 0.1, 0.1])
    tensor = (left * values) @ right
    ranks, floats = low_rank.compress(tensor.ravel(), [(6, 8)], 0.95, repaired=False)
    assert ranks.tolist() == [3]
    assert len(floats) == 3 * (6 + 1 + 8)
    expected = (left[:, :3] * values[:3]) @ right[:3]
    found = low_rank.reconstruct(ranks, floats, [(6, 8)]).reshape(6, 8)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_kernels_are_compressed_one_by_one() -> None:
    random = np.random.default_rng(0)
    columns, rows = random.standard_normal((2, 3, 5, 1)), random.standard_normal((2, 3, 1, 5))
    kernels = columns @ rows  # of rank 1 each
    ranks, floats = low_rank.compress(kernels.ravel(), [(2, 3, 5, 5)], 0.95, repaired=False)
    assert ranks.tolist() == [1]
    assert len(floats) == 6 * (5 + 1 + 5)
    found = low_rank.reconstruct(ranks, floats, [(2, 3, 5, 5)])
    np.testing.assert_allclose(found, kernels.ravel(), atol=1e-5)


def test_one_row_kernels_become_zeros_as_released_and_stay_whole_repaired() -> None:
    kernels = np.arange(1.0, 13.0)
    ranks, floats = low_rank.compress(kernels, [(2, 2, 1, 3)], 0.95, repaired=False)
    assert (ranks.tolist(), len(floats)) == ([0], 0)
    assert low_rank.reconstruct(ranks, floats, [(2, 2, 1, 3)]).tolist() == [0.0] * 12
    # A full rank would be 4 x (1 + 1 + 3) floats for 12.
    ranks, floats = low_rank.compress(kernels, [(2, 2, 1, 3)], 0.95, repaired=True)
    assert (ranks.tolist(), floats.tolist()) == ([RAW], kernels.tolist())
    # All of a flat spectrum is kept too, where it is shorter: rank 1 of 2 x 100.
    long = np.concatenate([np.ones(100), np.ones(100)])
    ranks, floats = low_rank.compress(long, [(2, 100)], 0.95, repaired=True)
    assert (ranks.tolist(), len(floats)) == ([1], 103)


@pytest.mark.parametrize("repaired", [False, True])
@pytest.mark.parametrize(
    ("shape", "values"),
    [((3,), [1, 2, 3]), ((1, 3), [1, 2, 3]), ((2, 2), [0] * 4), ((2, 2), [1, np.nan, np.inf, 2])],
)
def test_some_tensors_travel_as_they_are(
    shape: tuple[int, ...], values: list[float], repaired: bool
) -> None:
    ranks, floats = low_rank.compress(np.array(values), [shape], 0.95, repaired)
    assert ranks.tolist() == [RAW]
    np.testing.assert_array_equal(floats, np.array(values, np.float32))
    np.testing.assert_array_equal(low_rank.reconstruct(ranks, floats, [shape]), floats)


SHAPES = [(2, 3), (4,)]


@pytest.mark.parametrize(
    ("ranks", "floats", "message"),
    [
        ([1, RAW, RAW], 10, "3 ranks for 2 tensors"),
        ([3, RAW], 22, r"rank 3 of a tensor of shape \(2, 3\)"),
        ([-2, RAW], 4, "rank -2"),
        ([1, 0], 6, r"rank 0 of a tensor of shape \(4,\)"),
        ([2**62, RAW], 4, "rank 4611686018427387904"),
        ([1, RAW], 9, "9 floats where the ranks make 10"),
        ([1, RAW], 11, "11 floats where the ranks make 10"),
    ],
)
def test_what_does_not_fit_is_refused(ranks: list[int], floats: int, message: str) -> None:
    arrays = np.array(ranks), np.zeros(floats, np.float32)
    with pytest.raises(ValueError, match=message):
        low_rank.check_factors(*arrays, SHAPES)
    with pytest.raises(ValueError, match=message):
        low_rank.reconstruct(*arrays, SHAPES)
