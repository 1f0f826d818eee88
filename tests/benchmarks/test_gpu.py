import json
from pathlib import Path

import pytest

from benchmarks import environment, gpu


@pytest.mark.parametrize("step", list(gpu.STEPS))
def test_every_step_runs_on_a_cpu_at_a_small_size(step: str) -> None:
    found = gpu.STEPS[step]("cpu", True, "fashion-sample", 100.0)
    assert found
    assert "failed" not in found
    assert all(value >= 0 for value in found.values())


def test_each_step_is_written_as_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "RESULTS", tmp_path)
    gpu.main("cpu", True, "fashion-sample", ["FedTGP's server", "no such step"])
    stored = json.loads((tmp_path / "gpu-cpu.json").read_text())["steps"]
    assert stored["FedTGP's server"]["on cpu: seconds a round"] > 0
    assert stored["no such step"] == {"failed": "KeyError: 'no such step'"}
    assert "| FedTGP's server | on cpu: seconds a round |" in (tmp_path / "gpu-cpu.md").read_text()
