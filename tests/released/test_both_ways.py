"""Old and new versions in one task: an old agent at a new aggregator, new agents at an old one."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.one_device import EDGELOOP
from tests.released.older import Older, install

RELEASED = Path(__file__).with_name("v0_1_1")
NEW = (EDGELOOP,)
NETWORK = 'training = { architecture = "harcnn1-s3", threads = 1 }'
EXACT = ("class-statistics", 'base = "base"', "")
PRIVATE = (
    "fedavg",
    """
    width = 8
    hyperparameters = { architecture = "harcnn1-s3" }
    privacy = { noise = 1.0, epsilon = 50.0 }
    """,
    NETWORK,
)
ROUNDS = 2


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Older:
    """The version before."""
    return install(tmp_path_factory.mktemp("older"))


def together(
    place: Path,
    broker: BrokerSettings,
    task: tuple[str, str, str],
    commands: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Run an aggregator and two devices, each in its version; return the summary, and the logs."""
    for name in ("data", "base"):
        shutil.copytree(RELEASED / name, place / name)
    configure(place, broker, *task)
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with ExitStack() as stack:
        running = {}
        for name, command in commands.items():
            kind = "aggregator" if name == "aggregator" else "agent"
            words = [*command, kind, "--config", f"{name}.toml"]
            environment = dict(os.environ) if command == NEW else own
            begin = forked.start if command == NEW else subprocess.Popen
            with (place / f"{name}.log").open("w") as output:
                process = begin(words, cwd=place, env=environment, stderr=output)
            stack.callback(process.wait)
            stack.callback(process.kill)
            running[name] = process
        codes = [process.wait(timeout=200) for process in running.values()]
    told = {name: (place / f"{name}.log").read_text() for name in running}
    assert codes == [0, 0, 0], told
    return json.loads((place / "aggregator" / "summary.json").read_text()), told


def configure(place: Path, broker: BrokerSettings, algorithm: str, task: str, device: str) -> None:
    link = f"broker = {{ port = {broker.port} }}"
    (place / "aggregator.toml").write_text(
        f"""
        name = "mixed"
        algorithm = "{algorithm}"
        class_names = ["still", "moving"]
        shape = [2, 1, 64]
        rounds = {ROUNDS}
        folder = "aggregator"
        {link}
        http = {{ port = 0 }}
        cohort = {{ devices = ["a", "b"] }}
        {task}
        """
    )
    for client, name in enumerate("ab"):
        (place / f"{name}.toml").write_text(
            f"""
            name = "{name}"
            task = "mixed"
            folder = "device-{name}"
            {link}
            data = {{ source = "data", client = {client} }}
            {device}
            """
        )


def test_the_older_one_is_the_older_one(older: Older) -> None:
    program = older.command[-1].partition(";")[0]
    look = f"{program}; import edgeloop; print(edgeloop.__file__)"
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [*older.command[:-1], look]
    told = subprocess.run(words, check=True, capture_output=True, text=True, env=own).stdout
    assert Path(told.strip()).is_relative_to(Path(older.command[0]).parents[1])
    assert older.version == "0.1.1"


@pytest.mark.broker
@pytest.mark.parametrize("task", [EXACT, PRIVATE], ids=["exact", "private"])
def test_a_round_goes_both_ways(
    tmp_path: Path, broker: BrokerSettings, older: Older, task: tuple[str, str, str]
) -> None:
    """An old device and a new one at a new aggregator; then two new ones at an old one."""
    summaries = []
    for place, aggregator, first in (("new", NEW, older.command), ("old", older.command, NEW)):
        folder = tmp_path / place
        folder.mkdir()
        commands = {"aggregator": aggregator, "a": first, "b": NEW}
        summary, told = together(folder, broker, task, commands)
        assert len(summary["accuracy_by_round"]) == ROUNDS + 1
        for text in told.values():
            assert not any(word in text for word in ("ignored", "malformed", "Traceback")), told
        summaries.append(summary)
    if task is EXACT:
        assert summaries[0]["knowledge_sha256"] == summaries[1]["knowledge_sha256"]
    else:
        assert all(0 < each["epsilon"] <= 50 for each in summaries)
