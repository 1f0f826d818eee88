"""Distances between classes' prototypes. N uploaded prototypes, D their entries."""

import numpy as np
import pytest

from edgeloop.showing.margins import class_margins


def test_a_class_has_its_nearest_and_its_spread() -> None:
    points_ND = np.array([[0, 0], [0, 2], [4, 1], [10, 1]], np.float32)
    zero, two, five = class_margins(points_ND, np.array([0, 0, 2, 5]))
    assert (zero.label, zero.count, zero.nearest) == (0, 2, 2)
    assert zero.spread == pytest.approx(1.0)
    assert zero.margin == pytest.approx(4.0)
    assert zero.is_apart
    assert (two.nearest, two.spread) == (0, 0.0)
    assert five.nearest == 2
    assert five.margin == pytest.approx(6.0)


def test_classes_that_overlap_are_not_apart() -> None:
    points_ND = np.array([[0, 0], [0, 2], [1, 1], [1, 3]], np.float32)
    zero, one = class_margins(points_ND, np.array([0, 0, 1, 1]))
    assert not zero.is_apart
    assert not one.is_apart


def test_one_class_has_no_margin() -> None:
    (only,) = class_margins(np.ones((2, 3), np.float32), np.array([7, 7]))
    assert (only.label, only.nearest, only.margin, only.is_apart) == (7, None, None, True)
