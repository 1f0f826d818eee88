"""CIFAR's batches: pickles of Python 2, read without being run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.data import layout_of, read
from edgeloop.errors import DataError
from tests.data.layouts import cifar10, cifar100, hostile, place, python2


@pytest.mark.parametrize("inside", ["cifar-10-batches-py", "."])
def test_the_batches_are_pooled_in_order(tmp_path: Path, inside: str) -> None:
    cifar10(tmp_path / inside)
    pool = read(tmp_path)
    assert layout_of(tmp_path).layout == "CIFAR batches"
    assert pool.inputs.shape == (6, 3, 32, 32)
    assert pool.inputs[:, 2, 31, 31].tolist() == [0, 1, 2, 3, 4, 5]
    assert pool.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert pool.class_names == ("plane", "car", "bird")


def test_a_row_is_red_then_green_then_blue(tmp_path: Path) -> None:
    cifar100(tmp_path / "cifar-100-python")
    pool = read(tmp_path)
    rows = (np.arange(2 * 3072) % 256).reshape(2, 3, 32, 32)
    assert np.array_equal(pool.inputs[:2], rows)
    assert pool.inputs[2:].max() == pool.inputs[2:].min() == 7
    assert pool.labels.tolist() == [1, 0, 1, 0]
    assert pool.class_names == ("apple", "bee")


def test_what_python_3_writes_is_read_too(tmp_path: Path) -> None:
    cifar10(tmp_path)
    batch = {"data": np.full((1, 3072), 9, np.uint8), "labels": [2]}
    place(tmp_path / "test_batch", pickle.dumps(batch, 4))
    assert read(tmp_path).inputs[5].max() == 9


def test_a_hostile_pickle_is_refused(tmp_path: Path) -> None:
    cifar10(tmp_path)
    place(tmp_path / "data_batch_2", hostile())
    with pytest.raises(DataError, match=r"data_batch_2: its pickle asks for \w+\.print"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("batch", "problem"),
    [
        ([1], "not a pickled dict of plain columns"),
        ({"labels": [1]}, "has no array `data` of whole"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": ["a"]}, "no array `labels` of whole"),
        ({"data": np.zeros((1, 3071), np.uint8), "labels": [1]}, r"shape \(1, 3071\)"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [3]}, "label 3, out of range for 3"),
    ],
    ids=["list", "data", "words", "width", "label"],
)
def test_a_batch_that_does_not_fit_is_named(tmp_path: Path, batch: Any, problem: str) -> None:
    cifar10(tmp_path)
    place(tmp_path / "test_batch", python2(batch))
    with pytest.raises(DataError, match=problem):
        read(tmp_path)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    cifar10(tmp_path)
    place(tmp_path / "batches.meta", python2({"label_names": [1, 2]}))
    with pytest.raises(DataError, match=r"batches\.meta: has no list `label_names`"):
        read(tmp_path)
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3: no such file; download the set again"):
        read(tmp_path)
    place(tmp_path / "test_batch", b"\x80\x02}q")
    place(tmp_path / "data_batch_3", b"\x80\x02}q")
    with pytest.raises(DataError, match="data_batch_3: not a pickled dict"):
        read(tmp_path)
