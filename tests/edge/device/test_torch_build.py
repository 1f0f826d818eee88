"""The agent and doctor see a torch for GPUs on a machine that has none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SAYS = """
import sys
from pathlib import Path
from edge.agent import torch_build
from edge.device import machine
root = Path(sys.argv[1])
print(torch_build.misplaced(root))
print(machine.look_at_torch("cpu", root).line())
"""
BEGINS = """
import logging
from pathlib import Path
from edge.agent import task_client, torch_build
from edge.agent.settings import DeviceSettings
logging.basicConfig(format="%(message)s")
torch_build.GPUS = ("dev/none",)
data = {"source": "fashion-sample"}
for device in ("cpu", "cuda"):
    table = {"name": "a", "task": "t", "folder": "x", "data": data, "training": {"device": device}}
    try:
        task_client.check(DeviceSettings.model_validate(table))
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a torch for GPUs, as far as one can tell without importing it."""
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('imported')\n")
    (tmp_path / "torch" / "lib" / "libtorch_cuda.so").touch()
    (tmp_path / "torch-9.9.9.dist-info").mkdir()
    (tmp_path / "torch-9.9.9.dist-info" / "METADATA").write_text("Name: torch\nVersion: 9.9.9\n")
    return tmp_path


def run(program: str, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_a_torch_for_gpus_without_one_is_said(site: Path, tmp_path: Path) -> None:
    bare, line = run(SAYS, site, str(tmp_path / "bare")).stdout.splitlines()
    assert bare.startswith("9.9.9 is the build for GPUs")
    assert line.startswith("warning")
    assert "pip uninstall torch, then pip install torch --index-url" in line
    (tmp_path / "gpu" / "dev").mkdir(parents=True)
    (tmp_path / "gpu" / "dev" / "nvmap").touch()
    bare, line = run(SAYS, site, str(tmp_path / "gpu")).stdout.splitlines()
    assert (bare, line.split()[0]) == ("", "ok")


def test_the_agent_says_it_when_it_begins(site: Path) -> None:
    found = run(BEGINS, site)
    assert "torch 9.9.9 is the build for GPUs" in found.stderr
    assert 'ConfigError training.device: is "cuda", and torch 9.9.9' in found.stdout
    assert "AssertionError" not in found.stdout
