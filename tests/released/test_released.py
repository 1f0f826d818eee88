"""What the version before left on a disk is read, and continued."""

import json
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgeloop.runtime.config import BrokerSettings
from tests.one_device import EDGELOOP

RELEASED = Path(__file__).with_name("v0_1_0")
SIMULATE = [
    *("simulate", "fedtgp", "--data", "data", "--models", "harcnn1-s3", "--width", "8"),
    *("--set", "server_epochs=2", "--workers", "1", "--rounds", "30", "--history"),
]
ROUNDS = 12


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of all that was left."""
    return Path(shutil.copytree(RELEASED, tmp_path / "released"))


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EDGELOOP, *words], cwd=place, capture_output=True, text=True, check=True)


def test_a_killed_simulation_goes_on(place: Path) -> None:
    before = (place / "killed" / "rounds.csv").read_text().splitlines()
    models = place / "killed" / "checkpoint-1" / "models"
    assert models.is_dir()
    run(place, *SIMULATE, "--out", "killed")
    run(place, *SIMULATE, "--out", "whole")
    after = (place / "killed" / "rounds.csv").read_text().splitlines()
    assert after[:2] == before[:2]  # its header, and the round that the checkpoint has
    gone_on, whole = (
        json.loads((place / name / "summary.json").read_text())["accuracy_by_round"]
        for name in ("killed", "whole")
    )
    assert gone_on == pytest.approx(whole, abs=0.1)  # another processor rounds otherwise


def test_a_finished_simulation_is_reported_and_compared(place: Path) -> None:
    run(place, "report", "finished")
    assert list((place / "finished").glob("*.html"))
    assert "0 devices better" in run(place, "compare", "finished", "finished").stdout


FEDKTL = [
    *("simulate", "fedktl", "--data", "data", "--models", "harcnn1-s3", "--width", "8"),
    *("--set", "server_epochs=2", "--workers", "1", "--rounds", "3000", "--history"),
]


def test_a_simulation_by_another_rule_is_refused(place: Path) -> None:
    """FedKTL's centroids were means; half a run by each rule would be neither's."""
    for further in ([], ["--variant", "paper"]):
        words = [EDGELOOP, *FEDKTL, *further, "--out", "fedktl/killed"]
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "hyperparameters.centroids (nothing there" in done.stderr
        assert "go on with edgeloop 0.1.0, or name another folder" in done.stderr
        assert "Traceback" not in done.stderr
    assert (place / "fedktl" / "killed" / "checkpoint-1").is_dir()


def test_a_finished_one_by_another_rule_is_reported_and_compared(place: Path) -> None:
    run(place, "report", "fedktl/finished")
    words = [word if word != "3000" else "2" for word in FEDKTL]
    run(place, *words, "--out", "fedktl/today")
    told = run(place, "compare", "fedktl/finished", "fedktl/today").stdout
    assert "hyperparameters.centroids" in told


@pytest.mark.broker
def test_a_task_by_another_rule_is_refused(place: Path, broker: BrokerSettings) -> None:
    commands(place, broker.port, "fedktl")
    words = [EDGELOOP, "aggregator", "--config", "task.toml"]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ledger: holds a state that this edgeloop cannot read" in done.stderr
    assert "go on with the edgeloop that wrote it" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.broker
def test_a_killed_task_goes_on(place: Path, broker: BrokerSettings) -> None:
    with ExitStack() as stack:
        processes = [
            subprocess.Popen([EDGELOOP, *words], cwd=place, stderr=subprocess.PIPE, text=True)
            for words in commands(place, broker.port)
        ]
        for each in processes:
            stack.callback(each.wait)
            stack.callback(each.kill)
        told = [each.communicate(timeout=240)[1] for each in processes]
    assert [each.returncode for each in processes] == [0, 0, 0], told
    assert "resumes at round 3" in told[0]
    assert "resumed after round" in told[1]
    summary = json.loads((place / "aggregator" / "summary.json").read_text())
    assert len(summary["accuracy_by_round"]) == ROUNDS + 1
    assert len(list((place / "aggregator" / "history").iterdir())) == ROUNDS


def commands(place: Path, port: int, algorithm: str = "fedtgp") -> list[list[str]]:
    """Write the three configurations; return the three command lines."""
    folder = "" if algorithm == "fedtgp" else f"{algorithm}/"
    broker = f"broker = {{ port = {port} }}"
    (place / "task.toml").write_text(
        f"""
        name = "released"
        algorithm = "{algorithm}"
        hyperparameters = {{ server_epochs = 2 }}
        class_names = ["still", "moving"]
        shape = [2, 1, 64]
        width = 8
        rounds = {ROUNDS}
        history = true
        folder = "{folder}aggregator"
        {broker}
        http = {{ port = 0 }}
        cohort = {{ devices = ["a", "b"] }}
        """
    )
    for client, name in enumerate("ab"):
        (place / f"{name}.toml").write_text(
            f"""
            name = "{name}"
            task = "released"
            folder = "{folder}device-{name}"
            {broker}
            data = {{ source = "data", client = {client} }}
            training = {{ architecture = "harcnn1-s3", threads = 1 }}
            """
        )
    return [
        ["aggregator", "--config", "task.toml"],
        *(["agent", "--config", f"{name}.toml"] for name in "ab"),
    ]
