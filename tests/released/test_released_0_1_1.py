"""What 0.1.1 left on a disk, before its modules moved, is read, and continued."""

import csv
import json
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from edgeloop.bases.manifest import digest
from edgeloop.bases.running import Base
from edgeloop.cli.main import main
from edgeloop.runtime.config import BrokerSettings
from tests.forks import Forks

RELEASED = Path(__file__).with_name("v0_1_1")
BASE = "046e521785d0f8df4a75557410c351f40c7bd1b683968d44c602a819bb4729f0"
NETWORKS = ("--models", "harcnn1-s3", "--width", "8")
SIMULATED = {
    "fedtgp": (*NETWORKS, "--set", "server_epochs=2"),
    "fedktl": (*NETWORKS, "--set", "server_epochs=2"),
    "fedavg": (*NETWORKS, "--privacy", "noise=1", "--privacy", "epsilon=50"),
    "class-statistics": ("--base", "base"),
}
TASKS = {
    "fedtgp": "width = 8\nhyperparameters = { server_epochs = 2 }",
    "fedktl": "width = 8\nhyperparameters = { server_epochs = 2 }",
    "fedavg": """
        width = 8
        hyperparameters = { architecture = "harcnn1-s3" }
        privacy = { noise = 1.0, epsilon = 50.0 }
    """,
    "class-statistics": 'base = "base"',
}
ROUNDS = 12

every = pytest.mark.parametrize("algorithm", SIMULATED)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that was left, where the commands run."""
    folder = Path(shutil.copytree(RELEASED, tmp_path / "released"))
    monkeypatch.chdir(folder)
    return folder


def simulate(algorithm: str, rounds: int, out: str) -> list[str]:
    asked = (*SIMULATED[algorithm], "--workers", "1", "--rounds", str(rounds), "--history")
    return ["simulate", algorithm, "--data", "data", *asked, "--out", out]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "rounds.csv").open() as file:
        return list(csv.DictReader(file))


@every
def test_a_killed_simulation_goes_on(place: Path, algorithm: str, forks: Forks) -> None:
    folder = place / algorithm / "killed"
    before = rows(folder)
    stored = json.loads((folder / "checkpoint-1" / "rows.json").read_text())
    words = simulate(algorithm, 3000, f"{algorithm}/killed")
    started = forks.start(place, *words)
    deadline = time.monotonic() + 200
    while len(rows(folder)) <= len(before) + 1:
        assert time.monotonic() < deadline, started.said.read_text()
        time.sleep(0.05)
    started.stop(signal.SIGKILL)
    assert forks.ended(started) == -signal.SIGKILL
    after = rows(folder)
    assert stored
    assert after[: len(stored)] == before[: len(stored)]  # its own rows, and its own times


@every
def test_a_finished_simulation_is_known_and_compared(
    place: Path, algorithm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place / algorithm / "finished"
    words = simulate(algorithm, 2, f"{algorithm}/finished")
    assert main(words) == 2
    said = capsys.readouterr().err
    if "holds this very run, finished" not in said:  # a later version than 0.1.1, or torch
        differing = re.search(r"holds another run: ([^;]+);", " ".join(said.split()))
        assert differing is not None, said
        assert all(
            each.startswith("versions.") for each in re.split(r", (?![^(]*\))", differing[1])
        )
    assert main(["compare", str(folder), str(folder)]) == 0
    assert "0 devices better" in capsys.readouterr().out


def test_a_base_is_the_same_one(place: Path) -> None:
    base = Base.read(place / "base")
    assert digest(base.graph) == BASE
    assert base.features(np.zeros((3, 2, 1, 64), np.float32)).shape == (3, 8)


@pytest.mark.broker
@every
def test_a_killed_task_goes_on(
    place: Path, broker: BrokerSettings, algorithm: str, forks: Forks
) -> None:
    ledger = place / algorithm / "device-a" / "privacy.json"
    spent = json.loads(ledger.read_text()) if ledger.exists() else None
    words = commands(place, broker.port, algorithm, ROUNDS)
    told = forks.all_end_well(place, words)
    assert "resumes at round" in told[0]
    assert "resumed after round" in told[1]
    folder = place / algorithm / "aggregator"
    summary = json.loads((folder / "summary.json").read_text())
    assert len(summary["accuracy_by_round"]) == ROUNDS + 1
    assert len(list((folder / "history").iterdir())) == ROUNDS
    if spent is not None:
        now = json.loads(ledger.read_text())
        assert now["secret"] == spent["secret"]
        assert times(now) > times(spent) > 0


def times(ledger: dict[str, list[dict[str, int]]]) -> int:
    return sum(each["times"] for each in ledger["events"])


@pytest.mark.broker
def test_devices_of_an_ended_run_take_part_in_the_next(
    place: Path, broker: BrokerSettings, forks: Forks
) -> None:
    shutil.rmtree(place / "fedtgp" / "ended-aggregator")
    device = place / "fedtgp" / "ended-device-a"
    run = json.loads((device / "summary.json").read_text())["run"]
    forks.all_end_well(place, commands(place, broker.port, "fedtgp", 1, "ended-"))
    assert json.loads((device / "summary.json").read_text())["run"] != run
    assert (device / "previous" / run / "model.onnx").exists()


def commands(
    place: Path, port: int, algorithm: str, rounds: int, prefix: str = ""
) -> list[list[str]]:
    """Write the three configurations; return the three command lines."""
    broker = f"broker = {{ port = {port} }}"
    (place / "task.toml").write_text(
        f"""
        name = "released"
        algorithm = "{algorithm}"
        class_names = ["still", "moving"]
        shape = [2, 1, 64]
        rounds = {rounds}
        history = true
        folder = "{algorithm}/{prefix}aggregator"
        {broker}
        http = {{ port = 0 }}
        cohort = {{ devices = ["a", "b"] }}
        {TASKS[algorithm]}
        """
    )
    network = 'training = { architecture = "harcnn1-s3", threads = 1 }'
    for client, name in enumerate("ab"):
        (place / f"{name}.toml").write_text(
            f"""
            name = "{name}"
            task = "released"
            folder = "{algorithm}/{prefix}device-{name}"
            {broker}
            data = {{ source = "data", client = {client} }}
            {"" if algorithm == "class-statistics" else network}
            model = {{ every_rounds = 0 }}
            """
        )
    return [
        ["aggregator", "--config", "task.toml"],
        *(["agent", "--config", f"{name}.toml"] for name in "ab"),
    ]
