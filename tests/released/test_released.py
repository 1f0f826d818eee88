"""What the version before left on a disk is read, and continued."""

import json
import shutil
from pathlib import Path

import pytest

from edgeloop.cli.main import main
from edgeloop.runtime.config import BrokerSettings
from tests.forks import Forks

RELEASED = Path(__file__).with_name("v0_1_0")
SIMULATE = [
    *("simulate", "fedtgp", "--data", "data", "--models", "harcnn1-s3", "--width", "8"),
    *("--set", "server_epochs=2", "--workers", "1", "--rounds", "30", "--history"),
]
ROUNDS = 12
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that was left, where the commands run."""
    folder = Path(shutil.copytree(RELEASED, tmp_path / "released"))
    monkeypatch.chdir(folder)
    return folder


def test_a_killed_simulation_goes_on(place: Path) -> None:
    before = (place / "killed" / "rounds.csv").read_text().splitlines()
    models = place / "killed" / "checkpoint-1" / "models"
    assert models.is_dir()
    for name in ("killed", "whole"):
        assert main([*SIMULATE, "--out", name]) == 0
    after = (place / "killed" / "rounds.csv").read_text().splitlines()
    assert after[:2] == before[:2]  # its header, and the round that the checkpoint has
    gone_on, whole = (
        json.loads((place / name / "summary.json").read_text())["accuracy_by_round"]
        for name in ("killed", "whole")
    )
    assert gone_on == pytest.approx(whole, abs=0.1)  # another processor rounds otherwise


def test_a_finished_simulation_is_reported_and_compared(place: Path, capsys: Capture) -> None:
    assert main(["report", "finished"]) == 0
    assert list((place / "finished").glob("*.html"))
    assert main(["compare", "finished", "finished"]) == 0
    assert "0 devices better" in capsys.readouterr().out


FEDKTL = [
    *("simulate", "fedktl", "--data", "data", "--models", "harcnn1-s3", "--width", "8"),
    *("--set", "server_epochs=2", "--workers", "1", "--rounds", "3000", "--history"),
]


def test_a_simulation_by_another_rule_is_refused(place: Path, capsys: Capture) -> None:
    """FedKTL's centroids were means; half a run by each rule would be neither's."""
    for further in ([], ["--variant", "paper"]):
        assert main([*FEDKTL, *further, "--out", "fedktl/killed"]) == 2
        said = capsys.readouterr().err
        assert "hyperparameters.centroids (nothing there" in said
        assert "go on with edgeloop 0.1.0, or name another folder" in said
        assert "Traceback" not in said
    assert (place / "fedktl" / "killed" / "checkpoint-1").is_dir()


def test_a_finished_one_by_another_rule_is_reported_and_compared(
    place: Path, capsys: Capture
) -> None:
    assert main(["report", "fedktl/finished"]) == 0
    words = [word if word != "3000" else "2" for word in FEDKTL]
    assert main([*words, "--out", "fedktl/today"]) == 0
    assert main(["compare", "fedktl/finished", "fedktl/today"]) == 0
    assert "hyperparameters.centroids" in capsys.readouterr().out


@pytest.mark.broker
def test_a_task_by_another_rule_is_refused(
    place: Path, broker: BrokerSettings, forks: Forks
) -> None:
    commands(place, broker.port, "fedktl")
    started = forks.start(place, "aggregator", "--config", "task.toml")
    assert forks.ended(started) == 2
    said = started.said.read_text()
    assert "ledger: holds a state that this edgeloop cannot read" in said
    assert "go on with the edgeloop that wrote it" in said
    assert "Traceback" not in said


@pytest.mark.broker
def test_a_killed_task_goes_on(place: Path, broker: BrokerSettings, forks: Forks) -> None:
    told = forks.all_end_well(place, commands(place, broker.port))
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
            model = {{ every_rounds = 0 }}
            """
        )
    return [
        ["aggregator", "--config", "task.toml"],
        *(["agent", "--config", f"{name}.toml"] for name in "ab"),
    ]
