"""Runs programs in an environment with torchvision, which tools/vision.sh makes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALL = ROOT / "tools" / "vision.sh"


def interpreter() -> Path:
    """The interpreter of an environment with torchvision.

    In CI it is an error if there is none and none can be made; elsewhere the test is skipped: a
    test run does not fetch 5.6 GB unasked.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("EDGELOOP_VISION") or cache / "edgeloop" / "vision")
    if os.environ.get("CI"):
        _install(folder)
    elif not (folder / "installed").exists():
        pytest.skip("no torchvision; tools/vision.sh installs it, with a torch that suits it")
    return folder / "venv" / "bin" / "python"


def _install(folder: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([INSTALL, folder], env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"no torchvision: {done.stderr.strip()}")


def told(python: Path, *words: str) -> str:
    """Return what a Python program says in that environment."""
    done = subprocess.run(
        [python, "-W", "error", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
