"""`make test`, with programs that only note how they were called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAYS = '#!/bin/sh\necho "$(basename "$0") $*"\n'
FAILS = "#!/bin/sh\nexit 1\n"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    path.chmod(0o755)


def make(house: Path, *words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Call make as a person does, though it may be make that runs the tests."""
    outside = {key: word for key, word in os.environ.items() if not key.startswith(("MAKE", "MFL"))}
    command = ["make", *words]
    return subprocess.run(
        command, cwd=house, env=outside | settings, capture_output=True, text=True
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with our Makefile, where nothing can be installed."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for path in (ROOT / "tools").glob("*.sh"):
        program(tmp_path / "tools" / path.name, FAILS)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    for name in ("ruff", "mypy", "lint-imports", "python"):
        program(tmp_path / ".venv" / "bin" / name, SAYS)
    (tmp_path / ".venv" / ".dev").touch()
    return tmp_path


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(("ci", "runs"), [("", True), ("true", False)])
def test_what_cannot_be_installed_stops_the_tests_in_ci_alone(
    house: Path, ci: str, runs: bool
) -> None:
    done = make(house, "test", CI=ci)
    assert (done.returncode == 0) is runs, done.stderr
    assert ("python -m pytest --numprocesses" in done.stdout.splitlines()[-1]) is runs
    assert "mypy" in done.stdout


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("chaos", "python -m tests.chaos --faults 100 --seed 0"),
        (
            "chaos FAULTS=7 SEED=3 DATABASE=postgresql RECORD=x",
            "python -m tests.chaos --faults 7 --seed 3 --database postgresql --record x",
        ),
        ("bench-gpu", "python -m benchmarks.gpu --device cuda"),
        ("bench-gpu DEVICE=cpu SMALL=1", "python -m benchmarks.gpu --device cpu --small"),
        ("soak ROUNDS=150", "python -m benchmarks.soak --rounds 150"),
        ("field-cases", "python -m pytest -m field"),
    ],
)
def test_what_is_asked_for_is_passed_on(house: Path, words: str, command: str) -> None:
    done = make(house, "-n", *words.split())
    assert done.stdout.rstrip().endswith(command), done.stdout
