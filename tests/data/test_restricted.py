"""The reader of pickled arrays: what it admits, and what it refuses."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop.data.restricted import read_pickled_arrays
from edgeloop.errors import DataError


def pickled(value: object, protocol: int = 4) -> bytes:
    return pickle.dumps(np.array(value, dtype=object), protocol=protocol)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "|u1", "<i8", "<i4", "|b1"])
@pytest.mark.parametrize("protocol", [3, 4])
def test_plain_arrays_come_back_exactly(dtype: str, protocol: int) -> None:
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    read = read_pickled_arrays("f", pickled({"x": x, "y": np.array([1, 0])}, protocol))
    assert read["x"].dtype == x.dtype
    assert np.array_equal(read["x"], x)
    assert read["y"].tolist() == [1, 0]


def test_arrays_by_column_keep_their_order() -> None:
    x = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert np.array_equal(read_pickled_arrays("f", pickled({"x": x}))["x"], x)


def test_labels_may_be_a_list_of_numbers() -> None:
    read = read_pickled_arrays("f", pickled({"y": [2, np.int64(5), 0]}))
    assert read["y"].tolist() == [2, 5, 0]


def test_both_names_of_numpys_core_are_read() -> None:
    body = pickled({"x": np.arange(3)}, 3)
    for module in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        renamed = body.replace(b"numpy._core.multiarray", module)
        assert read_pickled_arrays("f", renamed)["x"].tolist() == [0, 1, 2]


class Payload:
    """Runs a function of its maker's choice where it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}", r"(posix|nt)\.system"),
        (eval, "open({!r}, 'w')", r"builtins\.eval"),
        (os.mkdir, "{}", r"(posix|nt)\.mkdir"),
        (io.open, "{}", r"_?io\.open"),
    ],
)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(
    tmp_path: Path, function: Callable[..., Any], argument: str, name: str
) -> None:
    trap = tmp_path / "sprung"
    body = pickled({"x": Payload(function, argument.format(str(trap)))})
    with pytest.raises(DataError, match=f"train/7.npz: its pickle asks for {name}"):
        read_pickled_arrays("train/7.npz", body)
    assert not trap.exists()


def test_nothing_is_reached_through_an_admitted_module() -> None:
    body = b"\x80\x04\x8c\x05numpy\x8c\x04load\x93."
    with pytest.raises(DataError, match=r"asks for numpy\.load"):
        read_pickled_arrays("f", body)
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tobytes\x93."
    with pytest.raises(DataError, match=r"asks for numpy\.ndarray\.tobytes"):
        read_pickled_arrays("f", dotted)


def test_an_array_cannot_claim_objects_that_are_bytes() -> None:
    body = pickled({"x": np.arange(2, dtype=np.int64)}).replace(b"\x8c\x02i8", b"\x8c\x02O8")
    with pytest.raises(DataError, match="array of objects"):
        read_pickled_arrays("f", body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80\x04.",
        pickled({"x": np.arange(4)})[:-20],
        pickle.dumps(3),
        pickled({"x": "text"}),
        pickled({"x": [[0, 1], [2]]}),
        pickled({"x": [[0, 1], 2]}),
        pickled({"x": [([0, 1], 2), ([0], 1)]}),
        pickled({"x": [2**70]}),
        pickled({"x": [["a"]]}),
        pickled({"x": np.array(["a", "b"])}),
        pickled([{"x": 1}, {"x": 2}]),
        pickle.dumps(np.arange(4.0), 4),
        b"(" * 10 + b"}" + b"b" * 3 + b".",
    ],
)
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(DataError, match="f: not a pickled dict of plain arrays"):
        read_pickled_arrays("f", body)
