"""What a device keeps: whole, its own, and not lost to the next run."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from edge.agent.store import ANSWER, WEIGHTS, AgentState, AgentStore
from edgeloop.client import Report
from edgeloop.errors import RunError
from edgeloop.protocol import wire
from edgeloop.protocol.wire import Envelope

ARRAYS = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(4)}
MEMORY = AgentState("run-1", 3, b"\x00answer\xff", ARRAYS, {"2": None, "3": 0.75})
NEXT = AgentState("run-2", 1, b"next", {}, {"1": 0.25})


def opened(folder: Path, device: str = "press-1", task: str = "shop") -> AgentStore:
    return AgentStore(folder, device, task)


def same(got: AgentState | None, expected: AgentState) -> bool:
    assert got is not None
    for name, array in expected.weights.items():
        assert got.weights[name].dtype == array.dtype
        assert got.weights[name].tolist() == array.tolist()
    assert got.weights.keys() == expected.weights.keys()
    plain: Any = [
        (each.run, each.round, each.answer, each.accuracies, each.traffic)
        for each in (got, expected)
    ]
    return bool(plain[0] == plain[1])


def write_old(path: Path, run: str = "run-1", answer: bytes = b"old") -> None:
    """Write a state as version 0.1.0 did: without a checksum, and without names."""
    facts = json.dumps({"run": run, "round": 3, "accuracies": {"3": 0.5}})
    tensors = {f"{WEIGHTS}{name}": array for name, array in ARRAYS.items()}
    tensors[ANSWER] = np.frombuffer(answer, np.uint8)
    path.write_bytes(save(tensors, {"facts": facts}))


def test_what_is_saved_is_remembered(tmp_path: Path) -> None:
    opened(tmp_path / "device").save(MEMORY)
    assert same(opened(tmp_path / "device").load("run-1"), MEMORY)


def test_another_runs_memory_is_none(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.load("run-1") is None
    store.save(MEMORY)
    assert store.load("run-2") is None


def test_a_state_of_before_checksums_is_read(tmp_path: Path) -> None:
    write_old(tmp_path / "state.safetensors")
    got = opened(tmp_path).load("run-1")
    assert same(got, AgentState("run-1", 3, b"old", ARRAYS, {"3": 0.5}))


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_file_is_set_aside_and_told(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    for number in (1, 2):
        store.path.write_bytes(content)
        assert store.load("run-1") is None
        assert (tmp_path / f"state.safetensors.damaged-{number}").read_bytes() == content
        assert f"moved to state.safetensors.damaged-{number}; starting afresh" in caplog.text
    store.save(MEMORY)
    assert same(opened(tmp_path).load("run-1"), MEMORY)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.save(MEMORY)
    whole = store.path.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    for place in {*range(0, head, 5), *range(head, len(whole))}:
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        store.path.write_bytes(broken)
        found = opened(tmp_path).load("run-1")
        assert found is None or same(found, MEMORY)  # padding may be any white space
        assert found is None or place < head
    for length in range(0, len(whole), 7):
        store.path.write_bytes(whole[:length])
        assert opened(tmp_path).load("run-1") is None


def test_another_devices_folder_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).save(MEMORY)
    sentence = f"folder {tmp_path}: holds the state of another device, press-1; give press-2 a"
    with pytest.raises(RunError, match=re.escape(sentence)):
        opened(tmp_path, "press-2")
    assert same(opened(tmp_path, task="paint").load("run-1"), MEMORY)  # its own, of a task before


def test_another_devices_old_folder_is_refused(tmp_path: Path) -> None:
    frame = wire.encode(Envelope("shop", "run-1", 3, "press-1"), Report(1, 2, 3, 0.0, 0.0))
    write_old(tmp_path / "state.safetensors", answer=frame)
    with pytest.raises(RunError, match="of another device, press-1"):
        opened(tmp_path, "press-2")
    assert opened(tmp_path).load("run-1") is not None


def test_the_run_before_is_kept_until_and_after_the_next_answer(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.save(MEMORY)
    again = opened(tmp_path)
    assert again.load("run-2") is None
    assert same(again.load("run-1"), MEMORY)  # nothing has been answered yet
    again.save(NEXT)
    assert same(opened(tmp_path).load("run-2"), NEXT)
    back = opened(tmp_path)
    assert same(back.load("run-1"), MEMORY)
    later = AgentState("run-1", 4, b"later", ARRAYS)
    back.save(later)
    assert same(opened(tmp_path).load("run-1"), later)
    assert same(opened(tmp_path).load("run-2"), NEXT)


def test_only_the_last_runs_before_are_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for number in range(5):
        store.save(AgentState(f"run-{number}", 1, b"x"))
        os.utime(tmp_path, None)
    assert sorted(each.name for each in (tmp_path / "previous").iterdir()) == ["run-2", "run-3"]
    assert opened(tmp_path).load("run-3") is not None
    assert opened(tmp_path).load("run-1") is None


def test_the_model_of_the_run_before_is_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"first")
    (tmp_path / "summary.json").write_text('{"run": "run-1"}')
    store.archive_previous_run("run-1")
    assert (tmp_path / "model.onnx").exists()
    store.archive_previous_run("run-2")
    kept = tmp_path / "previous" / "run-1"
    assert (tmp_path / "model.onnx").read_bytes() == b"first"  # in use until there is another
    assert (kept / "model.onnx").read_bytes() == b"first"
    assert json.loads((kept / "summary.json").read_text()) == {"run": "run-1"}


DAMAGED = (
    "{",
    "[" * 100_000,
    "null",
    '{"run": "../x"}',
    '{"run": 3}',
    "[]",
    '{"run": "run-1", "checksum": "x"}',
    "\xff",
)


def test_a_damaged_summary_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, damaged in enumerate(DAMAGED, start=1):
        (tmp_path / "summary.json").write_text(damaged, encoding="latin-1")
        opened(tmp_path).archive_previous_run("run-3")
        aside = tmp_path / f"summary.json.damaged-{number}"
        assert aside.read_text(encoding="latin-1") == damaged
        assert f"moved to summary.json.damaged-{number}\n" in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="name a folder that can be written"):
        opened(tmp_path / "file" / "device")


FACTS: dict[str, Any] = {"run": "run-1", "round": 3, "accuracies": {"3": 0.5}, "traffic": {}}
WRONG: dict[str, tuple[Any, ...]] = {
    "round": (-1, 10**30, True, 1.5, "3", None),
    "accuracies": ([0.5], "x", {"3": "x"}, {"3": 1e9}, 3),
    "traffic": ([], 3, {"3": 7}, {"3": {"up": "x"}}),
    "run": ("../x", 5, ["run-1"], ""),
    "device": (5,),
}


@pytest.mark.parametrize(
    "facts",
    [
        *({**FACTS, name: value} for name, values in WRONG.items() for value in values),
        [],
        None,
        "[" * 100_000,
    ],
)
def test_facts_that_cannot_be_are_set_aside(tmp_path: Path, facts: Any) -> None:
    text = facts if isinstance(facts, str) else json.dumps(facts)
    content = save({ANSWER: np.frombuffer(b"old", np.uint8)}, {"facts": text})
    (tmp_path / "state.safetensors").write_bytes(content)
    store = opened(tmp_path)
    assert store.load("run-1") is None
    assert (tmp_path / "state.safetensors.damaged-1").exists()
    store.save(MEMORY)
    assert same(store.load("run-1"), MEMORY)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2"])
def test_a_tensor_of_a_kind_that_numpy_lacks_is_set_aside(tmp_path: Path, kind: str) -> None:
    tensors = {
        "__metadata__": {"facts": json.dumps(FACTS)},
        ANSWER: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        f"{WEIGHTS}w": {"dtype": kind, "shape": [1], "data_offsets": [1, 2]},
    }
    header = json.dumps(tensors).encode()
    content = len(header).to_bytes(8, "little") + header + b"ab"
    (tmp_path / "state.safetensors").write_bytes(content)
    assert opened(tmp_path).load("run-1") is None
