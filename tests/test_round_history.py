"""A round's file: what it keeps of the answers and of the broadcast they led to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from edgeloop import round_history
from edgeloop.algorithms.local import Nothing
from edgeloop.client import Answer, Report
from edgeloop.knowledge.latent_pairs import Pairs
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.server_loop import RoundResult, RunState
from edgeloop.showing.rounds import read_round

REPORT = Report(1, 2, 3, 0.5, 0.5)
PAIRS = Pairs(
    np.arange(12, dtype=np.uint8).reshape(2, 6).T.copy().T,  # not contiguous
    np.array([[0.5, -1], [2, 65504]], np.float16),
)


def upload(*labels: int) -> PrototypeUpload:
    labels_N = np.array(labels, np.int64)
    columns = [labels_N, labels_N + 0.5, -labels_N]
    return PrototypeUpload(labels_N, labels_N + 1, np.stack(columns, axis=1).astype(np.float32))


def closed(uploads: Mapping[str, Any], broadcast: Any = PAIRS, number: int = 7) -> Any:
    answers = {name: Answer(each, REPORT) for name, each in uploads.items()}
    return RoundResult(number, answers, RunState(number + 1, Nothing(), broadcast))


def stored(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    with safe_open(path, "numpy") as file:
        names = list(file.keys())
        return {name: file.get_tensor(name) for name in names}, dict(file.metadata())


def test_a_file_says_which_round_it_is_of(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "history"
    paths = [round_history.write_round(folder, closed({}, number=number)) for number in (7, 123456)]
    assert [path.name for path in paths] == ["round-00007.safetensors", "round-123456.safetensors"]
    assert sorted(folder.iterdir()) == sorted(paths)


def test_prototypes_stand_device_after_device_in_the_order_of_names(tmp_path: Path) -> None:
    uploads = {"b": upload(1), "c": upload(), "a": upload(0, 2)}
    arrays, metadata = stored(round_history.write_round(tmp_path, closed(uploads)))
    assert json.loads(metadata["devices"]) == ["a", "b", "c"]
    assert arrays["devices"].tolist() == [0, 0, 1]
    assert arrays["labels"].tolist() == [0, 2, 1]
    assert arrays["prototypes"].tolist() == [[0.0, 0.5, 0.0], [2.0, 2.5, -2.0], [1.0, 1.5, -1.0]]


def test_the_broadcast_is_kept_to_the_bit(tmp_path: Path) -> None:
    arrays, _ = stored(round_history.write_round(tmp_path, closed({"a": upload(0)})))
    assert not PAIRS.images_NP.flags.c_contiguous
    for name in ("images_NP", "latents_NH"):
        found, expected = arrays[f"broadcast.{name}"], getattr(PAIRS, name)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


@dataclass(frozen=True)
class Mixed:
    """A broadcast with a number beside its array."""

    rounds: int
    table_CD: NDArray[np.float32]


def test_only_arrays_of_a_broadcast_are_kept(tmp_path: Path) -> None:
    message = Mixed(3, np.ones((2, 3), np.float32))
    arrays, _ = stored(round_history.write_round(tmp_path, closed({"a": upload(1)}, message)))
    assert set(arrays) == {"broadcast.table_CD", "devices", "labels", "prototypes"}


@pytest.mark.parametrize("uploads", [{}, {"a": Nothing()}, {"a": Nothing(), "b": Nothing()}])
def test_a_round_without_prototypes(tmp_path: Path, uploads: dict[str, Any]) -> None:
    arrays, metadata = stored(round_history.write_round(tmp_path, closed(uploads)))
    assert set(arrays) == {"broadcast.images_NP", "broadcast.latents_NH"}
    assert json.loads(metadata["devices"]) == sorted(uploads)
    arrays, _ = stored(round_history.write_round(tmp_path, closed(uploads, Nothing())))
    assert arrays == {}


def test_a_round_that_is_closed_again_gives_the_same_file(tmp_path: Path) -> None:
    uploads = {"b": upload(1), "a": upload(0, 2)}
    before = round_history.write_round(tmp_path, closed(uploads)).read_bytes()
    path = round_history.write_round(tmp_path, closed(dict(reversed(uploads.items()))))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_report_reads_what_was_written(tmp_path: Path) -> None:
    found = read_round(
        round_history.write_round(tmp_path, closed({"b": upload(1), "a": upload(0, 2)}))
    )
    assert (found.number, found.devices) == (7, ("a", "b"))
    assert found.images is not None
    assert np.array_equal(found.images, PAIRS.images_NP)
    assert found.floats_up() == {"a": 6, "b": 3}
