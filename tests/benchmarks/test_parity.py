import pytest

from benchmarks import parity


def test_each_round_is_compared_with_the_spread_of_the_seeds() -> None:
    first, second = parity.compare([(0.0, 0.5), (0.0, 0.7)], (0.0, 0.71))
    assert (first.mean, first.std, first.inside) == (0.0, 0.0, True)
    assert (second.min, second.max, second.inside) == (0.5, 0.7, False)
    assert second.mean == pytest.approx(0.6)
    assert second.std == pytest.approx(0.1)


def test_the_reference_counts_to_its_four_digits() -> None:
    (only,) = parity.compare([(0.17184,), (0.17179,)], (0.1718,))
    assert only.inside


def test_there_is_a_reference_for_every_round() -> None:
    assert {len(rounds) for rounds in parity.REFERENCE.values()} == {parity.ROUNDS + 1}
