"""What each command ends with, by what has happened: the table of docs/exit-codes.md."""

# Over 320 lines: one table over all commands.

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from cloud.aggregator.ledger import Ledger
from edge.agent.folder import hold_folder
from edgeloop import errors
from edgeloop.cli import stopping
from edgeloop.cli.main import GROUP, main
from edgeloop.runtime.ports import free_port
from tests import fake_broker, forked
from tests.cloud.stack import stacks
from tests.devices import wait_until
from tests.test_bad_input import TASK, write
from tests.world import StartBroker

COMMANDS = sorted(point.name for point in entry_points(group=GROUP))
SIMULATE = ["simulate", "fedproto", "--data", "fashion-sample", "--partition", "iid"]
LONG = [*SIMULATE, "--clients", "2", "--rounds", "1000", "--workers", "1"]
TABLE = (Path(__file__).parent.parent / "docs" / "exit-codes.md").read_text()
KNOWN = {
    0: None,
    errors.EXIT_BUG: None,
    errors.EXIT_INPUT: "InputError",
    errors.EXIT_TAKEN: "TakenError",
    errors.EXIT_UNAVAILABLE: "UnavailableError",
    errors.EXIT_INTERRUPTED: "KeyboardInterrupt",
    errors.EXIT_TERMINATED: "TerminatedError",
}
CODES = {  # how each class of errors ends, by its leaves
    errors.ConfigError: 2,
    errors.DataError: 2,
    errors.ModelError: 2,
    errors.BaseError: 2,
    errors.GeneratorError: 2,
    errors.RunError: 2,
    errors.ForbiddenError: 2,
    errors.BrokerSetupError: 2,
    errors.TakenError: 73,
    errors.UnavailableError: 75,
    errors.StorageError: 75,
    errors.BrokerAwayError: 75,
    errors.BusyError: 75,
}


def test_the_table_has_every_code_and_its_class() -> None:
    rows = re.findall(r"^\| (\d+) \|[^|]+\|([^|]*)\|", TABLE, re.MULTILINE)
    assert [int(code) for code, _ in rows] == sorted(KNOWN)
    for code, said in rows:
        known = KNOWN[int(code)]
        assert known is None or f"`{known}`" in said


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_a_class_is_one_meaning(kind: type[errors.EdgeloopError], code: int) -> None:
    assert kind.exit_code == code
    meanings = (errors.InputError, errors.UnavailableError, errors.TakenError)
    assert sum(issubclass(kind, each) for each in meanings) == 1


def refused(capfd: pytest.CaptureFixture[str], words: Sequence[str], code: int) -> str:
    """Run a command that ends with an exit code and one sentence; return that."""
    capfd.readouterr()
    assert main(list(words)) == code
    said = capfd.readouterr().err
    (line,) = [each for each in said.splitlines() if each.startswith("error: ")]
    assert "Traceback" not in said
    assert re.fullmatch(r"error: [^;]+: [^;]+; .+", line), line
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_wrong_input(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    listed = {"base": ["list"], "data": ["list"], "generator": ["list"]}
    words = [command, *{**listed, "broker": ["acl"], "ca": ["devices"]}.get(command, [])]
    words += {"predict": ["m", "x"]}.get(command, [])
    said = refused(capfd, [*words, "--no-such-option"], 2)
    assert "--no-such-option: there is no such option; " in said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_command_and_option_are_recognised(
    command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said = refused(capfd, [f"{command}{command[-1]}"], 2)
    assert said.endswith(f"there is no such command; did you mean {command}")


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    broker = {"port": free_port(), "connect_seconds": 1.0}
    return {**TASK, "folder": str(tmp_path / "task"), "broker": broker}


@pytest.fixture
def device(tmp_path: Path, task: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "one",
        "task": "bad",
        "folder": str(tmp_path / "device"),
        "data": {"source": "fashion-sample"},
        "broker": task["broker"],
        "training": {"threads": 1},
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([*SIMULATE, "--clients", "2", "--set", "sever_epochs=1"], "no such hyperparameter"),
        (["simulate", "fedpoto", "--data", "fashion-sample"], "did you mean fedproto"),
        (["algorithms", "fedtpg"], "did you mean fedtgp"),
        ([*SIMULATE, "--models", "resnett18"], "did you mean resnet18"),
        ([*SIMULATE[:-1], "irid"], "--partition: there is no 'irid'; did you mean iid"),
        (["reproduce", "fedktl-table0"], "there is no 'fedktl-table0'; did you mean fedktl-table"),
        (["generator", "show", "digit"], "did you mean digits"),
        (["simulate", "fedproto", "--data", "fashion-sampel"], "did you mean fashion-sample"),
        ([*SIMULATE, "--sink", "mlflw:x"], "did you mean mlflow"),
        ([*SIMULATE, "--rounds", "0"], "--rounds: 0 is too small; give 1 or more"),
        (["data", "show", "cifar11"], "cifar"),
    ],
)
def test_a_misspelt_choice_is_wrong_input(
    capfd: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    said = refused(capfd, words, 2)
    assert told in said
    for inner in ("Input should", "unable to parse", "^[", "BytesIO", "Value error"):
        assert inner not in said


def test_a_broker_that_is_away_is_unavailable(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, task: dict[str, Any], device: dict[str, Any]
) -> None:
    cloud, edge = write(tmp_path / "task.toml", task), write(tmp_path / "device.toml", device)
    for words in (
        ["aggregator", "--config", cloud],
        ["aggregator", "--config", cloud, "--forget"],
        ["agent", "--config", edge],
    ):
        assert "cannot be reached" in refused(capfd, words, 75)


@pytest.mark.broker
@pytest.mark.parametrize(("reason", "code"), [(0x89, 75), (0x97, 75), (0x87, 2), (0x86, 2)])
def test_a_broker_that_refuses(
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    task: dict[str, Any],
    start_broker: StartBroker,
    reason: int,
    code: int,
) -> None:
    real = start_broker().settings.port
    with fake_broker.before(real, fake_broker.refusing(*[reason] * 50)) as port:
        settings = {"port": port, "connect_seconds": 2.0}
        path = write(tmp_path / "task.toml", {**task, "broker": settings})
        assert "refuses" in refused(capfd, ["aggregator", "--config", path], code)


def test_what_another_process_has_is_taken(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, task: dict[str, Any], device: dict[str, Any]
) -> None:
    cloud, edge = write(tmp_path / "task.toml", task), write(tmp_path / "device.toml", device)
    stack = stacks.write(tmp_path, stacks.table(tmp_path))
    (tmp_path / "task").mkdir()
    with Ledger.open(f"sqlite:///{tmp_path / 'task' / 'ledger.sqlite'}"):
        said = refused(capfd, ["aggregator", "--config", cloud], 73)
    assert "another aggregator is running on it; stop it" in said
    with hold_folder(tmp_path / "device"):
        assert "another agent is at work" in refused(capfd, ["agent", "--config", edge], 73)
    with closing(stacks.socket_on(stacks.port_of(stack))):
        assert "is in use; stop" in refused(capfd, ["up", "--config", str(stack)], 73)
    with closing(stacks.socket_on(0)) as taken:
        words = ["base", "serve", "--repository", str(tmp_path), "--port"]
        assert "--port: " in refused(capfd, [*words, str(taken.getsockname()[1])], 73)


BUG = """
import importlib.metadata, sys
from edgeloop.cli import main as command
point = importlib.metadata.EntryPoint("bug", "builtins:divmod", command.GROUP)
command.entry_points = lambda group: [point]
sys.exit(command.main(["bug"]))
"""


def test_a_bug_is_1_with_a_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", BUG], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.fixture(autouse=True)
def _heeds_ctrl_c() -> Iterator[None]:
    """Have a command heed SIGINT also where the tests are a background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def started(words: Sequence[str], log: Path, until: str) -> Iterator[forked.Forked]:
    """Run a command; give the process once it has said something."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        command = [stacks.EDGELOOP, *words]
        process = forked.start(command, stdout=output, stderr=output, env=environment)
    try:
        wait_until(lambda: until in log.read_text() or process.poll() is not None, 120)
        assert until in log.read_text(), log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()


Case = tuple[Callable[[Path, dict[str, Any], dict[str, Any]], list[str]], str]


def _agent(folder: Path, task: dict[str, Any], device: dict[str, Any]) -> list[str]:
    broker = {"port": device["broker"]["port"]}  # tried without end
    return ["agent", "--config", write(folder / "device.toml", {**device, "broker": broker})]


def _aggregator(folder: Path, task: dict[str, Any], device: dict[str, Any]) -> list[str]:
    broker = {**task["broker"], "connect_seconds": 60}
    return ["aggregator", "--config", write(folder / "task.toml", {**task, "broker": broker})]


def _bases(folder: Path, task: dict[str, Any], device: dict[str, Any]) -> list[str]:
    return ["base", "serve", "--repository", str(folder), "--port", "0"]


def _up(folder: Path, task: dict[str, Any], device: dict[str, Any]) -> list[str]:
    broker = {"run": "external", "port": device["broker"]["port"]}
    table = stacks.table(folder, broker=broker, aggregators=[])
    return ["up", "--config", str(stacks.write(folder, table))]


def _authority(folder: Path, task: dict[str, Any], device: dict[str, Any]) -> list[str]:
    place = ["--folder", str(folder / "authority")]
    assert main(["ca", "init", *place, "--port", "0"]) == 0
    return ["ca", "serve", *place]


def _server(folder: Path, task: dict[str, Any], device: dict[str, Any]) -> list[str]:
    tokens = folder / "tokens"
    tokens.write_text(f"viewer ada sha256:{'0' * 64}\n")
    place = {"folder": str(folder / "server"), "tokens_file": str(tokens), "port": 0}
    followed = [{"name": "away", "url": "http://127.0.0.1:1"}]
    table = {**place, "aggregators": followed}
    return ["server", "--config", write(folder / "server.toml", table)]


SERVICES: dict[str, Case] = {
    "agent": (_agent, "tries again"),
    "aggregator": (_aggregator, "metrics, health and status"),
    "base serve": (_bases, "serves"),
    "ca serve": (_authority, "devices enrol at"),
    "server": (_server, "answers at"),
    "up": (_up, "tries again"),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("service", SERVICES)
def test_a_signal_ends_a_service(
    tmp_path: Path,
    task: dict[str, Any],
    device: dict[str, Any],
    service: str,
    number: signal.Signals,
) -> None:
    words, until = SERVICES[service]
    log = tmp_path / "log"
    with started(words(tmp_path, task, device), log, until) as process:
        process.send_signal(number)
        code = process.wait(60)
    last = log.read_text().splitlines()[-1]
    if number == signal.SIGTERM:
        assert (code, last) == (0, stopping.STOPPED)
    else:
        assert (code, last.partition(";")[0]) == (130, "error: stopped by Ctrl-C")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_that_then_continues(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words, log = [*LONG, "--out", str(tmp_path / "run")], tmp_path / "log"
    with started(words, log, "accuracy") as process:
        process.send_signal(number)
        assert process.wait(60) == code
    assert log.read_text().splitlines()[-1].endswith("; run the same command again to go on")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["agent", "--config", "x"], 0),
        (["base", "serve", "x"], 0),
        (["ingest", "--config", "x"], 0),
        (["agent", "--config", "x", "--leave"], 143),
        (["aggregator", "--forget-device=a"], 143),
        (["aggregator", "--config", "x", "--evict", "a"], 143),
        (["base", "list"], 143),
        (["simulate", "fedproto"], 143),
    ],
)
def test_sigterm_while_a_command_is_loaded(tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / "slow.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    program = (
        "import importlib.metadata, sys; from edgeloop.cli import main as command;"
        f"point = importlib.metadata.EntryPoint({words[0]!r}, 'slow:main', command.GROUP);"
        f"command.entry_points = lambda group: [point]; sys.exit(command.main({words!r}))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(30) == code
    assert time.monotonic() - began < 20


HARD_TO_STOP = {
    "a lock, and another thread has the signal": """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
threading.Event().wait()
""",
    "a sleep, and another thread has the signal": """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
time.sleep(600)
""",
    "a finalizer, which drops exceptions": """
class Slow:
    def __del__(self):
        time.sleep(2)
Slow()
time.sleep(600)
""",
    "a weak reference's callback, which drops exceptions": """
import weakref
class Thing:
    pass
thing = Thing()
watched = weakref.ref(thing, lambda gone: time.sleep(2))
del thing
time.sleep(600)
""",
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("where", HARD_TO_STOP)
def test_a_signal_reaches_the_main_thread(
    tmp_path: Path, where: str, number: signal.Signals, code: int
) -> None:
    module = "import signal, threading, time\ndef main(words):\n    print('runs', flush=True)\n"
    body = textwrap.indent(HARD_TO_STOP[where], "    ")
    (tmp_path / "stubborn.py").write_text(module + body)
    program = (
        "import importlib.metadata, sys, threading; from edgeloop.cli import main as command;"
        "threading.Thread(target=threading.Event().wait, daemon=True).start();"
        "point = importlib.metadata.EntryPoint('agent', 'stubborn:main', command.GROUP);"
        "command.entry_points = lambda group: [point]; sys.exit(command.main(['agent']))"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        time.sleep(0.3)  # it is in its wait
        process.send_signal(number)
        try:
            assert process.wait(20) == code
        finally:
            process.kill()
