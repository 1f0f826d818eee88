"""A device's new model is put into use unless its own samples call it worse beyond chance."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge.agent.deployment_gate import ModelGate
from edge.agent.export import MixedClassifier, check, export
from edge.agent.predict import open_model
from edge.agent.store import AgentStore
from edgeloop.data import Samples
from edgeloop.mixing.experts import MixingWeights
from edgeloop.runtime import atomic_files

NAMES = ("a", "b")
COUNT = 20


class Signs(nn.Module):
    """Says class 1 where the first number is above a threshold; where it is not, class 0."""

    def __init__(self, threshold: float, scale: float = 1.0, unknown: bool = False) -> None:
        super().__init__()
        self.threshold, self.scale, self.unknown = threshold, scale, unknown

    def forward(self, inputs: Tensor) -> Tensor:
        first_B = (inputs[:, 0] - self.threshold) * self.scale
        one_B = torch.full_like(first_B, -torch.inf) if self.unknown else first_B
        return torch.stack([-first_B, one_B], dim=1)


def own(count: int = COUNT) -> Samples:
    """Return samples -9.5 ... 9.5, of class 1 where they are above zero."""
    inputs = np.linspace(-9.5, 9.5, count, dtype=np.float32)[:, None]
    return Samples(inputs, (inputs[:, 0] > 0).astype(np.int64))


def write(path: Path, run: str, wrong: int, names: tuple[str, ...] = NAMES) -> None:
    """Write a model that has so many of the samples of class 1 wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"run": run, "device": "one"}
    export(Signs(float(wrong)), path, shape=(1,), class_names=names, pixels=False, facts=facts)


def finished(folder: Path, run: str, wrong: int) -> None:
    """Leave what a run before leaves."""
    write(folder / "model.onnx", run, wrong)
    (folder / "summary.json").write_text(json.dumps({"run": run}))


def concluded(
    folder: Path, run: str, wrong: int, held_out: Samples | None = None
) -> dict[str, object]:
    entry = ModelGate(folder, run, False, own() if held_out is None else held_out)
    write(entry.new, run, wrong)
    AgentStore(folder, "one", "t").archive_previous_run(run)
    found = entry.accept()
    (folder / "summary.json").write_text(json.dumps({"run": run}))
    gate = found.get("gate", {})
    assert isinstance(gate, dict)
    return gate


def in_use(folder: Path) -> str | None:
    return open_model(folder / "model.onnx").fact("run")


@pytest.mark.parametrize(("wrong", "kept"), [(0, "new"), (5, "new"), (6, "old"), (10, "old")])
def test_the_old_one_stays_where_the_new_one_is_worse_beyond_chance(
    tmp_path: Path, wrong: int, kept: str
) -> None:
    finished(tmp_path, "r1", wrong=0)
    gate = concluded(tmp_path, "r2", wrong)
    assert (gate["keeps"], gate["old"], gate["new"]) == (kept, 1.0, 1 - wrong / COUNT)
    assert (gate["held_out"], gate["old_run"]) == (COUNT, "r1")
    assert in_use(tmp_path) == ("r1" if kept == "old" else "r2")
    assert (tmp_path / "model-r2.onnx").exists() == (kept == "old")
    assert open_model(tmp_path / "previous" / "r1" / "model.onnx").fact("run") == "r1"


def test_a_better_one_replaces_a_bad_one(tmp_path: Path) -> None:
    finished(tmp_path, "r1", wrong=10)
    assert concluded(tmp_path, "r2", 0)["keeps"] == "new"
    assert in_use(tmp_path) == "r2"


def test_what_is_in_use_is_what_the_next_run_is_compared_with(tmp_path: Path) -> None:
    finished(tmp_path, "r1", wrong=0)
    assert concluded(tmp_path, "r2", 10)["keeps"] == "old"
    assert concluded(tmp_path, "r3", 9)["old_run"] == "r1"
    assert in_use(tmp_path) == "r1"
    assert (tmp_path / "previous" / "r2" / "model-r2.onnx").exists()
    assert not (tmp_path / "model-r2.onnx").exists()


def test_started_again_it_comes_to_the_same(tmp_path: Path) -> None:
    finished(tmp_path, "r1", wrong=0)
    first = concluded(tmp_path, "r2", 10)
    assert concluded(tmp_path, "r2", 10) == first
    (tmp_path / "summary.json").unlink()  # killed before it was written
    assert concluded(tmp_path, "r2", 10) == first
    assert in_use(tmp_path) == "r1"
    finished(tmp_path / "two", "r1", wrong=0)
    first = concluded(tmp_path / "two", "r2", 1)
    assert concluded(tmp_path / "two", "r2", 1) == first
    assert in_use(tmp_path / "two") == "r2"


def test_what_cannot_be_compared_is_not(tmp_path: Path) -> None:
    write(tmp_path / "names" / "model.onnx", "r1", 0, ("a", "c"))
    (tmp_path / "none").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.onnx").write_bytes(b"no model")
    for name in ("names", "none", "broken"):
        assert concluded(tmp_path / name, "r2", 10) == {}
        assert in_use(tmp_path / name) == "r2"
    finished(tmp_path / "no-samples", "r1", wrong=0)
    assert concluded(tmp_path / "no-samples", "r2", 10, own(0)) == {}


@pytest.mark.parametrize("unknown", [False, True])
def test_a_mixtures_file_says_what_the_rule_says(tmp_path: Path, unknown: bool) -> None:
    alone, together = Signs(2.0), Signs(-1.0, 100.0, unknown)
    choice = MixingWeights(0.75, 2.0, 512.0)
    path = tmp_path / "model.onnx"
    made = MixedClassifier(alone, together, choice)
    export(made, path, shape=(1,), class_names=NAMES, pixels=False, facts={"weight": "0.75"})
    inputs = torch.from_numpy(own().inputs)
    assert check(path, made, inputs) < 1e-4
    wanted = choice.scores(alone(inputs).numpy(), together(inputs).numpy())
    found = open_model(path)
    np.testing.assert_allclose(found.scores(own().inputs), wanted, atol=1e-4)
    assert found.fact("weight") == "0.75"


def test_a_model_of_other_bytes_than_its_summary_says_is_not_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for damaged, kept in ((False, "r1"), (True, "r2")):
        folder = tmp_path / str(damaged)
        write(folder / "model.onnx", "r1", wrong=0)
        digest = "0" * 64 if damaged else atomic_files.digest(folder / "model.onnx")
        facts = {"run": "r1", "onnx_sha256": digest}
        atomic_files.write_checked_json(folder / "summary.json", facts)
        concluded(folder, "r2", wrong=9)
        assert in_use(folder) == kept
    assert "is damaged (its checksum differs): it is not compared" in caplog.text
