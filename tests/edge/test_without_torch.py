"""A device without torch: the agent starts, and refuses only the tasks that train a network."""

import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import edge.agent
from edgeloop import data
from edgeloop.cli.main import main
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import contract_topic
from edgeloop.runtime.config import BrokerSettings
from tests.devices import wait_until
from tests.one_device import write_data
from tests.world import contract

ROOT = Path(__file__).parents[2]
LEAN = """
import sys

class Lean:
    def find_spec(self, name, path=None, target=None):
        lacks = {"torch", "torchvision", "onnx", "opacus", "pyarrow"}
        if name.split(".")[0] in lacks or name == "safetensors.torch":
            raise %s

sys.meta_path.insert(0, Lean())
"""
ABSENT = "ModuleNotFoundError(f'No module named {name!r}', name=name)"
BROKEN = {
    "torch is not installed": ABSENT,
    "torch cannot be imported (no symbol)": "ImportError('no symbol')",
    "torch cannot be imported (libgomp.so: no such file)": "OSError('libgomp.so: no such file')",
}
COMMAND = "from edgeloop.cli.main import main; sys.exit(main(sys.argv[1:]))"
NETWORK = (
    "edge.agent.final_model",
    "edge.agent.export",
    "edge.agent.networks",
    "edge.agent.own_network",
    "edge.agent.picture_form",
)
"""The only modules of the agent that may need torch, the last one onnx alone."""


def words(program: str, *arguments: str, lack: str = ABSENT) -> list[str]:
    return [sys.executable, "-c", LEAN % lack + program, *arguments]


def lean(program: str, *arguments: str, lack: str = ABSENT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(program, *arguments, lack=lack),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def agents_modules() -> list[str]:
    found = pkgutil.iter_modules(edge.agent.__path__, "edge.agent.")
    return [each.name for each in found if each.name not in NETWORK]


IMPORTED_ANYWAY = """
import importlib

for name in %r:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    print(name)
"""


def test_what_is_tested_can_fail() -> None:
    found = lean(IMPORTED_ANYWAY % (NETWORK,))
    assert (found.stdout, found.stderr, found.returncode) == ("", "", 0)


def test_every_other_module_of_the_agent_is_imported() -> None:
    modules = [*agents_modules(), "edgeloop.algorithms", "edgeloop.cohorts.local", "edgeloop.data"]
    assert len(modules) > 10
    found = lean(f"import {', '.join(modules)}; assert 'torch' not in sys.modules")
    assert found.stderr == ""


@pytest.mark.parametrize("lack", BROKEN.values())
def test_its_help(lack: str) -> None:
    found = lean(COMMAND, "agent", "--help", lack=lack)
    assert (found.stderr, found.returncode) == ("", 0)
    assert "--config" in found.stdout


@pytest.mark.parametrize(
    ("lack", "needs"),
    [
        (ABSENT, r"\(needs (torch|pyarrow), which is not installed\)"),
        ("OSError('no such file')", r"\(cannot be loaded \(no such file\)\)"),
    ],
)
def test_every_commands_summary_or_what_it_needs(lack: str, needs: str) -> None:
    found = lean(COMMAND, "--help", lack=lack)
    assert (found.stderr, found.returncode) == ("", 0)
    told = {line.split()[0]: line for line in found.stdout.splitlines() if line[:2] == "  "}
    assert "Takes part in a task as one device" in told["agent"]
    assert re.search(needs, told["simulate"])


@pytest.mark.parametrize("command", ["algorithms", "simulate"])
@pytest.mark.parametrize(
    ("lack", "problem"),
    [
        (ABSENT, "needs (torch|pyarrow), which is not installed"),
        ("ImportError('no symbol')", r"cannot be loaded \(no symbol\)"),
    ],
)
def test_a_command_that_needs_torch_is_one_sentence(command: str, lack: str, problem: str) -> None:
    found = lean(COMMAND, command, "fedproto", lack=lack)
    told = rf"error: {command}: {problem}; pip install 'edgeloop\[sim\]'\n"
    assert re.fullmatch(told, found.stderr)
    assert found.returncode == 2


BEGINS = """
import sys
from pathlib import Path
from edge.agent.command import load_context
from edge.agent.settings import DeviceSettings
from edgeloop.runtime import config
mine = load_context(config.read(Path(sys.argv[1]), DeviceSettings))
mine.base_cache
print(sorted({"torch", "onnx", "onnxruntime", "scipy", "pandas"} & set(sys.modules)))
"""


def test_the_agent_with_torch_begins_without_it(tmp_path: Path) -> None:
    path = config(tmp_path, BrokerSettings(), write_data(tmp_path / "data"))
    found = subprocess.run(
        [sys.executable, "-c", BEGINS, str(path)], check=True, capture_output=True, text=True
    )
    assert found.stdout == "[]\n"


def test_an_architectures_name_is_known_without_torch() -> None:
    names = ("cnn", "CNN", "harcnn-s1", "resnet34+relu-256", "lstm")
    program = f"from edge.agent import architectures; list(map(architectures.check, {names}))"
    found = lean(program)
    assert (found.stderr, found.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("harcnn-s9", "there is no 'harcnn-s9'; did you mean harcnn-s"),
        ("cnn+softmax", "'cnn+softmax' asks for an unknown head"),
        ("", "there is no ''"),
    ],
)
def test_a_wrong_one_ends_the_agent_at_its_start(
    tmp_path: Path, name: str, problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = config(tmp_path, BrokerSettings(), write_data(tmp_path / "data"))
    path.write_text(f"{path.read_text()}training = {{ architecture = {json.dumps(name)} }}\n")
    command = ["agent", "--config", str(path)]
    found = lean(COMMAND, *command)
    capfd.readouterr()
    with_torch = main(command), capfd.readouterr().err
    for code, said in ((found.returncode, found.stderr), with_torch):
        assert code == 2
        assert problem in said


def config(folder: Path, broker: BrokerSettings, source: Path) -> Path:
    path = folder / "device.toml"
    path.write_text(
        f'name = "one"\ntask = "t"\nfolder = {json.dumps(str(folder / "device"))}\n'
        f"broker = {{ port = {broker.port} }}\n"
        f"data = {{ source = {json.dumps(str(source))} }}\n"
    )
    return path


@contextmanager
def running(folder: Path, arguments: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a lean device at most until the block ends; what it says goes to `log`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("w") as output:
        process = subprocess.Popen(arguments, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.broker
@pytest.mark.parametrize("problem", BROKEN)
def test_a_task_that_trains_a_network_is_refused_and_the_next_one_is_heard(
    tmp_path: Path, broker: BrokerSettings, problem: str
) -> None:
    source = write_data(tmp_path / "data")
    names = data.load(str(source)).class_names
    agent = words(
        COMMAND, "agent", "--config", str(config(tmp_path, broker, source)), lack=BROKEN[problem]
    )

    def said() -> list[str]:
        lines = (tmp_path / "log").read_text().splitlines()
        return [line for line in lines if "cannot take part in run" in line]

    def publish(run: str, algorithm: str) -> None:
        wanted = contract(run=run, algorithm=algorithm, class_names=names)
        with MqttConnection(broker, "somebody", []) as connection:
            connection.publish(contract_topic("t"), wanted.text().encode(), retain=True)
            assert connection.flush(10)

    refused = f"{problem}; pip install 'edgeloop[edge]'; waiting for another contract"
    with running(tmp_path, agent) as process:
        for number, algorithm in enumerate(("fedproto", "fedktl"), start=1):
            publish(f"r{number}", algorithm)
            wait_until(lambda: len(said()) == number or process.poll() is not None)  # noqa: B023
            told = f"run r{number} of t: algorithm: {algorithm} trains a network, and {refused}"
            assert said()[-1].endswith(told)
        publish("r3", "fedbest")
        wait_until(lambda: len(said()) == 3)
        assert "there is no 'fedbest'; did you mean feddbe" in said()[-1]
        assert process.poll() is None
    log = (tmp_path / "log").read_text()
    assert f"takes part only in tasks that train no network: {problem}" in log
    assert "Traceback" not in log
