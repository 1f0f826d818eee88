"""The product's first promise: one run gives the same global knowledge everywhere, to the bit."""

# Over 320 lines: one run, in each of the places where it must be the same.

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeloop.runtime.config import BrokerSettings
from tests import forked
from tests.devices import wait_until
from tests.generators.tiny import write_tiny
from tests.processes import running
from tests.relay import Relay
from tests.world import MODELS, StartBroker

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))
DEVICES = [f"client-{number:02}" for number in range(len(MODELS))]
ROUNDS, EPOCHS, WIDTH = 3, 5, 64


@dataclass(frozen=True)
class Simulated:
    """A run in one process.

    Attributes:
        algorithm: its name.
        generator: its folder, for an algorithm that needs one.
        shuffle: whether clients shuffle their samples.
        knowledge: the SHA-256 of the last broadcast, after three rounds.
    """

    algorithm: str
    generator: Path | None
    shuffle: bool
    knowledge: str


@pytest.fixture(scope="module", params=["fedktl", "fedtgp shuffled"])
def simulated(
    request: pytest.FixtureRequest, world: Path, tmp_path_factory: pytest.TempPathFactory
) -> Simulated:
    folder = tmp_path_factory.mktemp("simulated")
    name, _, shuffle = request.param.partition(" ")
    out, generator = folder / "run", None
    command = f"simulate {name} --data {world} --models {','.join(MODELS)} --rounds {ROUNDS}"
    options = f"--width {WIDTH} --set server_epochs={EPOCHS} --seed 0 --workers 1 --out {out}"
    options += " --shuffle" if shuffle else ""
    if name == "fedktl":
        generator = write_tiny(folder / "generator")
        options += f" --generator {generator}"
    forked.run([EDGELOOP, *command.split(), *options.split()], check=True, timeout=240)
    knowledge = json.loads((out / "summary.json").read_text())["knowledge_sha256"]
    return Simulated(name, generator, bool(shuffle), knowledge)


@dataclass(frozen=True)
class Started:
    """A process and what it says."""

    process: forked.Forked | subprocess.Popen[Any]
    log: Path

    def wait_for(self, text: str) -> None:
        """Return as soon as its log has this text."""
        deadline = time.monotonic() + 120
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, f"{self.log} has no {text!r}"
            time.sleep(0.02)

    def at_work(self) -> bool:
        """Return whether an agent trains: it has heard of a round, and has no answer to it yet."""
        said = self.log.read_text()
        return said.count(": working") > said.count(" before training")

    def stop_at_work(self) -> None:
        """Stop an agent in the middle of a round; where it was faster, in a later one."""
        deadline, stopped = time.monotonic() + 120, psutil.Process(self.process.pid)
        while True:
            wait_until(self.at_work)
            self.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED)
            if self.at_work():
                return
            self.process.send_signal(signal.SIGCONT)
            assert time.monotonic() < deadline, f"{self.log}: it answered before it was stopped"

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait() == -signal.SIGKILL


class Deployment:
    """One aggregator and six agents, as processes, each with its own folder and configuration."""

    cohort = f"{{ devices = {DEVICES} }}"
    rounds = ROUNDS

    def __init__(self, folder: Path, world: Path, simulated: Simulated, stack: ExitStack) -> None:
        self.folder = folder
        self._simulated = simulated
        self.started = 0
        self._world = world
        self._stack = stack

    def start_aggregator(self, broker: BrokerSettings) -> Started:
        config = json.loads((self._world / "config.json").read_text())
        names = ", ".join(f'"{name}"' for name in config["class_names"])
        generator = self._simulated.generator
        return self._start(
            "aggregator",
            f"""
            name = "same"
            algorithm = "{self._simulated.algorithm}"
            {f'generator = "{generator}"' if generator else ""}
            {self._hyperparameters()}
            class_names = [{names}]
            shape = [1, 28, 28]
            width = {WIDTH}
            rounds = {self.rounds}
            shuffle = {json.dumps(self._simulated.shuffle)}
            folder = "{self.folder / "aggregator"}"
            broker = {{ port = {broker.port} }}
            http = {{ port = 0 }}
            cohort = {self.cohort}
            """,
        )

    def _hyperparameters(self) -> str:
        averages = self._simulated.algorithm == "fedproto"
        return "" if averages else f"hyperparameters = {{ server_epochs = {EPOCHS} }}"

    def start_agent(self, number: int, broker: BrokerSettings) -> Started:
        return self._start(
            "agent",
            f"""
            name = "{DEVICES[number]}"
            task = "same"
            folder = "{self.folder / DEVICES[number]}"
            broker = {{ port = {broker.port} }}
            data = {{ source = "{self._world}", client = {number} }}
            training = {{ architecture = "{MODELS[number]}", threads = 1, mix = "never" }}
            model = {{ every_rounds = 0 }}
            """,
            DEVICES[number],
        )

    def _start(self, command: str, config: str, name: str = "aggregator") -> Started:
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(line.strip() for line in config.splitlines()))
        self.started += 1
        log = self.folder / f"{self.started}-{name}.log"
        with log.open("w") as output:
            process = forked.start([EDGELOOP, command, "--config", str(path)], stderr=output)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return Started(process, log)

    def knowledge(self) -> str:
        summary = json.loads((self.folder / "aggregator" / "summary.json").read_text())
        return str(summary["knowledge_sha256"])


@pytest.fixture
def deployment(world: Path, simulated: Simulated, tmp_path: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        yield Deployment(tmp_path, world, simulated, stack)


def finish(*processes: Started) -> None:
    """Wait until all have ended well."""
    deadline = time.monotonic() + 240
    for started in processes:
        try:
            code = started.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        assert code == 0, f"{code} of {started.log}: {started.log.read_text()[-2000:]}"


@pytest.mark.broker
def test_over_mosquitto(
    simulated: Simulated, deployment: Deployment, start_broker: StartBroker
) -> None:
    broker = start_broker().settings
    agents = [deployment.start_agent(number, broker) for number in range(len(MODELS))]
    finish(deployment.start_aggregator(broker), *agents)
    assert deployment.knowledge() == simulated.knowledge


@pytest.mark.broker
def test_in_another_order_and_everything_twice(
    simulated: Simulated, deployment: Deployment, start_broker: StartBroker
) -> None:
    cloud, edge = start_broker().settings, start_broker().settings
    with Relay("same", cloud, edge, hold_back=len(MODELS)) as relay:
        agents = [deployment.start_agent(number, edge) for number in range(len(MODELS))]
        finish(deployment.start_aggregator(cloud), *agents)
    assert deployment.knowledge() == simulated.knowledge
    assert relay.order == sorted(DEVICES, reverse=True) * (ROUNDS + 1)
    assert relay.forwarded == 2 * relay.heard > 0


@pytest.mark.broker
def test_an_agent_killed_in_the_middle_of_a_round(
    simulated: Simulated, deployment: Deployment, start_broker: StartBroker
) -> None:
    broker = start_broker().settings
    aggregator = deployment.start_aggregator(broker)
    victim = deployment.start_agent(0, broker)
    others = [deployment.start_agent(number, broker) for number in range(1, len(MODELS))]
    victim.wait_for("round 1 of 3: working")
    victim.kill()
    finish(aggregator, deployment.start_agent(0, broker), *others)
    assert deployment.knowledge() == simulated.knowledge


@pytest.mark.broker
def test_the_aggregator_and_the_broker_killed_in_the_middle_of_a_round(
    simulated: Simulated, deployment: Deployment, start_broker: StartBroker
) -> None:
    broker = start_broker()
    aggregator = deployment.start_aggregator(broker.settings)
    agents = [deployment.start_agent(number, broker.settings) for number in range(len(MODELS))]
    aggregator.wait_for("round 0 of 3 closed")
    aggregator.kill()
    broker.process.kill()
    broker.process.wait()
    again = start_broker(port=broker.settings.port).settings
    finish(deployment.start_aggregator(again), *agents)
    assert deployment.knowledge() == simulated.knowledge


QUICK = """
import sys, time
for number in range(2):
    print(f"round {number}: working", file=sys.stderr, flush=True)
    time.sleep(60 * number + 0.1)
    print(f"round {number}: accuracy 0.5 before training", file=sys.stderr, flush=True)
    time.sleep(0.1)
"""


class SeenTooLate(Started):
    """Its first round is over by the time that somebody has seen it at work."""

    def at_work(self) -> bool:
        """Return what is so, or was a moment ago."""
        if found := super().at_work():
            self.wait_for("round 0: accuracy")
        return found


def test_an_agent_that_answers_before_it_is_stopped_is_stopped_later(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output, running([sys.executable, "-c", QUICK], stderr=output) as process:
        SeenTooLate(process, log).stop_at_work()
    assert log.read_text().splitlines()[-1] == "round 1: working"


class OpenDeployment(Deployment):
    """Nobody is listed, and a round does not wait long for who does not answer."""

    cohort = (
        '{ admit = ["client-*"], quorum = 2, grace_seconds = 2, deadline_seconds = 20,'
        " give_up_seconds = 200 }"
    )
    rounds = 6


@pytest.mark.broker
def test_with_joins_leaves_and_late_answers_replayed_in_one_process(
    world: Path, tmp_path: Path, start_broker: StartBroker
) -> None:
    broker = start_broker().settings
    with ExitStack() as stack:
        plain = Simulated("fedtgp", None, False, "")
        deployment = OpenDeployment(tmp_path, world, plain, stack)
        aggregator = deployment.start_aggregator(broker)
        agents = [deployment.start_agent(number, broker) for number in range(3)]
        stays, leaves, late = agents
        aggregator.wait_for("client-02 joins")
        aggregator.wait_for("client-01 joins")
        late.stop_at_work()  # it has heard of the round, and does not answer
        joins = deployment.start_agent(3, broker)
        aggregator.wait_for("client-03 joins")
        leaves.kill()
        log = aggregator.log.read_text()
        closed = log.count(" closed: ")
        aggregator.wait_for(f"round {closed} of 6 closed")
        late.process.send_signal(signal.SIGCONT)
        finish(aggregator, stays, late, joins)
        record = tmp_path / "aggregator" / "participation.json"
        held = json.loads(record.read_text())
        assert held["rounds"][-1]["answered"] != held["rounds"][0]["answered"], (
            "some join, or leave"
        )
        assert any(each["late"] for each in held["rounds"])
        assert {each["device"] for each in held["members"]} == set(DEVICES[:4])
        again = tmp_path / "again.json"
        written = ["--config", str(tmp_path / "aggregator.toml"), "--record", str(again)]
        forked.run([EDGELOOP, "aggregator", *written], check=True, timeout=120)
        assert json.loads(again.read_text()) == held
    out = tmp_path / "replayed"
    command = f"simulate fedtgp --data {world} --models {','.join(MODELS)} --rounds 6"
    options = f"--width {WIDTH} --set server_epochs={EPOCHS} --seed 0 --workers 1 --out {out}"
    whole = [*command.split(), *options.split(), "--replay", str(again)]
    forked.run([EDGELOOP, *whole], check=True, timeout=240)
    replayed = json.loads((out / "summary.json").read_text())["knowledge_sha256"]
    assert replayed == deployment.knowledge() == held["knowledge_sha256"]


class BufferedDeployment(Deployment):
    """A round is over with three answers; who is slower counts in a later one."""

    cohort = '{ admit = ["client-*"], buffer = 3, max_staleness = 20, give_up_seconds = 200 }'
    rounds = 8


@pytest.mark.broker
def test_with_answers_that_count_in_later_rounds_replayed_in_one_process(
    world: Path, tmp_path: Path, start_broker: StartBroker
) -> None:
    broker = start_broker().settings
    with ExitStack() as stack:
        plain = Simulated("fedproto", None, False, "")
        deployment = BufferedDeployment(tmp_path, world, plain, stack)
        aggregator = deployment.start_aggregator(broker)
        agents = [deployment.start_agent(number, broker) for number in range(5)]
        slow = agents[0]
        slow.stop_at_work()  # it has heard of the round
        closed = aggregator.log.read_text().count(" closed: ")
        aggregator.wait_for(f"round {closed + 1} of 8 closed")
        aggregator.kill()
        slow.process.send_signal(signal.SIGCONT)
        finish(deployment.start_aggregator(broker), *agents)
    record = tmp_path / "aggregator" / "participation.json"
    held = json.loads(record.read_text())
    assert held["schema_version"] == 2
    stale = [each["bases"] for each in held["rounds"]]
    assert any("client-00" in each for each in stale)
    assert all(len(each["answered"]) >= 3 for each in held["rounds"])
    out = tmp_path / "replayed"
    command = f"simulate fedproto --data {world} --models {','.join(MODELS)} --rounds 8"
    options = f"--width {WIDTH} --seed 0 --workers 1 --out {out} --replay {record}"
    forked.run([EDGELOOP, *command.split(), *options.split()], check=True, timeout=240)
    replayed = json.loads((out / "summary.json").read_text())["knowledge_sha256"]
    assert replayed == deployment.knowledge() == held["knowledge_sha256"]
