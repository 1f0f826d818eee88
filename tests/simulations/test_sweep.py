"""A grid and a search over settings, and that both go on after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeloop.errors import ConfigError, RunError
from edgeloop.runtime import config
from simulations.tuning.search import run_search
from simulations.tuning.sweep import Sweep, Tried, as_csv, prepare, run_grid
from simulations.tuning.sweep_command import main
from tests.forks import Forks

PROGRAM = """
import sys
from simulations.tuning.sweep_command import main
sys.exit(main(sys.argv[1:]))
"""


def silent(name: str, score: float) -> None:
    """Watch nothing."""


def sweep(images: Path, **changes: Any) -> Sweep:
    run = {"algorithm": "fedproto", "data": str(images), "width": 16, "rounds": 1, "workers": 1}
    return config.parse({"run": run, **changes}, Sweep, "test")


def test_a_grid_runs_every_combination_and_ranks_them(images: Path, tmp_path: Path) -> None:
    grid = {"options.pull": [0.0, 50.0], "batch_size": [10]}
    asked = sweep(images, grid=grid)
    found = run_grid(asked, tmp_path, silent)
    assert {each.changes["options.pull"] for each in found} == {0.0, 50.0}
    assert found[0].score >= found[1].score
    written = json.loads((tmp_path / "sweep.json").read_text())["candidates"]
    assert [each["score"]["mean"] for each in written] == [each.score for each in found]
    summary = tmp_path / "runs" / found[0].name / "seed-0" / "summary.json"
    hyperparameters = json.loads(summary.read_text())["config"]["hyperparameters"]
    assert hyperparameters["pull"] == found[0].changes["options.pull"]
    before = summary.read_bytes()
    assert run_grid(asked, tmp_path, silent) == found  # nothing runs again
    assert summary.read_bytes() == before


def test_a_table_as_csv() -> None:
    tried = [Tried("a", {"alpha": 0.1}, [0.5, 0.7], [0.4, 0.4]), Tried("b", {}, [0.25], [0.2])]
    lines = as_csv(tried).splitlines()
    assert lines[0] == "alpha,score,score_std,final_accuracy,final_accuracy_std,seeds"
    assert lines[1].startswith("0.1,0.6,0.1414")
    assert lines[2] == ",0.25,,0.2,,1"


def test_a_search_goes_on_as_if_it_had_not_stopped(images: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    search = {
        "options.pull": {"low": 0.01, "high": 100.0, "log": True},
        "options.local_epochs": {"low": 1, "high": 2, "whole": True},
        "batch_size": [5, 10],
    }
    run_search(sweep(images, search=search, trials=1), tmp_path / "one", silent)
    stopped = run_search(sweep(images, search=search, trials=2), tmp_path / "one", silent)
    whole = run_search(sweep(images, search=search, trials=2), tmp_path / "whole", silent)
    assert stopped == whole
    assert len(whole) == 2
    assert len({each.changes["options.pull"] for each in whole}) == 2
    assert json.loads((tmp_path / "one/sweep.json").read_text())["held_out"] == 0.25
    for each in whole:
        assert 0.01 <= float(each.changes["options.pull"]) <= 100
        assert each.changes["options.local_epochs"] in (1, 2)


def test_a_killed_grid_goes_on(images: Path, tmp_path: Path, forks: Forks) -> None:
    path, out = tmp_path / "grid.toml", tmp_path / "out"
    run = f'algorithm = "local"\ndata = "{images}"\nwidth = 16\nrounds = 3\nworkers = 1'
    path.write_text(f"[run]\n{run}\n[grid]\nbatch_size = [5]\n")
    killed = forks.start(tmp_path, "sweep", str(path), "--out", str(out))
    deadline = time.monotonic() + 120
    while not list(out.glob("runs/*/seed-0/run.json")) and time.monotonic() < deadline:
        assert killed.process.poll() is None, killed.said.read_text()
        time.sleep(0.01)
    killed.stop(signal.SIGKILL)
    assert forks.ended(killed) == -signal.SIGKILL
    assert not (out / "sweep.json").exists()
    assert main([str(path), "--out", str(out)]) == 0
    first = json.loads((out / "sweep.json").read_text())
    assert main([str(path), "--out", str(tmp_path / "whole")]) == 0
    assert json.loads((tmp_path / "whole/sweep.json").read_text()) == first


def test_a_grid_runs_on_a_cluster(images: Path, tmp_path: Path) -> None:
    """Paths that mean something where the command runs, and results as without."""
    pytest.importorskip("ray")
    (tmp_path / "images").symlink_to(images)
    run = 'algorithm = "local"\ndata = "images"\nwidth = 16\nrounds = 1\nworkers = 1'
    (tmp_path / "grid.toml").write_text(f"[run]\n{run}\n[grid]\nbatch_size = [5, 10]\n")
    words = [sys.executable, "-c", PROGRAM, "grid.toml", "--out", "out", "--cluster", "local"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=240)
    path = tmp_path / "here.toml"
    path.write_text((tmp_path / "grid.toml").read_text().replace("images", str(images)))
    assert main([str(path), "--out", str(tmp_path / "here")]) == 0
    found, expected = (
        json.loads((tmp_path / place / "sweep.json").read_text()) for place in ("out", "here")
    )
    assert found == expected
    assert len(found["candidates"]) == 2


def test_runs_or_their_clients_are_on_a_cluster(images: Path, tmp_path: Path) -> None:
    run = {"algorithm": "fedproto", "data": str(images), "cluster": "local"}
    asked = config.parse({"run": run, "grid": {"batch_size": [5]}}, Sweep, "test")
    with pytest.raises(ConfigError, match=r"run\.cluster: has the clients .* leave out one"):
        run_grid(asked, tmp_path / "out", silent, "local")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "grid, or a table search"),
        ({"grid": {"alpha": [1]}, "search": {"alpha": [1]}}, "not both"),
        ({"grid": {"alpha": []}}, "alpha"),
        ({"search": {"alpha": {"low": 2, "high": 1}}}, "low is above high"),
        ({"search": {"alpha": {"low": 0, "high": 1, "log": True}}}, "logarithm"),
        ({"search": {"alpha": {"low": 0.5, "high": 2, "whole": True}}}, "not whole"),
        ({"grid": {"no_such": [1]}}, "no_such"),
        ({"grid": {"options.no_such": [1]}}, "no_such"),
        (
            {"grid": {"local_lr": [0.1]}},
            r'local_lr: is a hyperparameter of fedproto, .* write "options\.local_lr" in grid',
        ),
        ({"search": {"pull": {"low": 1, "high": 2}}}, "pull in .run.options"),
        ({"grid": {"seed": [1]}}, "seeds"),
        ({"grid": {"alpha": [0.1]}, "held_out": 0.2}, "held out"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    images: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        run_grid(sweep(images, **changes), tmp_path / "out", silent)
    assert not (tmp_path / "out").exists()


def test_a_value_that_comes_twice_is_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"grid\.batch_size: has a value twice"):
        run_grid(sweep(images, grid={"batch_size": [5, 10, 5]}), tmp_path / "out", silent)


@pytest.mark.parametrize("options", [3, "local_lr=1", ["local_lr"]])
def test_options_that_are_no_table_are_refused(
    images: Path, tmp_path: Path, options: object
) -> None:
    asked = sweep(images, grid={"batch_size": [10]})
    wrong = asked.model_copy(update={"run": {**asked.run, "options": options}})
    with pytest.raises(ConfigError, match=r"run\.options: .* is no table"):
        run_grid(wrong, tmp_path / "out", silent)


def test_another_sweep_is_refused(images: Path, tmp_path: Path) -> None:
    prepare(sweep(images, grid={"batch_size": [10]}), tmp_path)
    with pytest.raises(RunError, match="another study"):
        run_grid(sweep(images, grid={"batch_size": [5]}), tmp_path, silent)
