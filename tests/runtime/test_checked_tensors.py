"""A file of arrays tells when it is not as it was written; one of before does not, and is read."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from edgeloop.runtime import checked_tensors

TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([True, False])}
FACTS = {"devices": '["one"]', "task": "t"}


def read(path: Path) -> dict[str, list[object]]:
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        checked_tensors.check(arrays, file.metadata())
    return {name: array.tolist() for name, array in arrays.items()}


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path, wanted = tmp_path / "file", {name: each.tolist() for name, each in TENSORS.items()}
    whole = checked_tensors.content(TENSORS, FACTS)
    path.write_bytes(whole)
    assert read(path) == wanted
    head, unnoticed = 8 + int.from_bytes(whole[:8], "little"), 0
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            found = read(path)
        except (SafetensorError, ValueError):
            continue
        assert place < head  # its padding, or the name of the sum
        assert found == wanted
        unnoticed += 1
    assert unnoticed < 20


@pytest.mark.parametrize("metadata", [None, FACTS])
def test_one_of_before_is_read(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    (tmp_path / "file").write_bytes(save(TENSORS, metadata))
    assert read(tmp_path / "file").keys() == TENSORS.keys()


def test_the_same_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    facts = {f"fact \u00e9{number}": '"\\\n' for number in range(8)}
    written = {checked_tensors.content(TENSORS, facts) for _ in range(20)}
    assert len(written) == 1
    (tmp_path / "file").write_bytes(written.pop())
    assert read(tmp_path / "file") == {name: each.tolist() for name, each in TENSORS.items()}
    with safe_open(tmp_path / "file", "numpy") as file:
        assert facts.items() <= file.metadata().items()
