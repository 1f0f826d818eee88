"""A stack on this machine: its broker, aggregator and agents are real processes, and are killed."""

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from cloud.generator_service import server
from edgeloop.cli.main import main
from tests import triton
from tests.cloud.stack import stacks
from tests.cloud.stack.stacks import DEVICES, ROUNDS, TASK
from tests.devices import wait_until
from tests.world import StartBroker

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def _mosquitto(start_broker: StartBroker) -> None:
    """Skip where there is no Mosquitto, or fail in CI."""


def check_finished(folder: Path, rounds: int = ROUNDS, devices: Sequence[str] = DEVICES) -> None:
    """Check that no round has lost an upload."""
    of_task = folder / "stack" / "aggregators" / TASK
    summary = json.loads((of_task / "summary.json").read_text())
    assert summary["rounds"] == rounds
    assert sorted(summary["accuracy_by_device"]) == sorted(devices)
    for name in devices:
        agent = folder / "stack" / "agents" / TASK / name / "summary.json"
        assert len(json.loads(agent.read_text())["accuracy_by_round"]) == rounds + 1


def test_parts_that_are_killed_in_the_middle_of_a_round_come_back(tmp_path: Path) -> None:
    with stacks.running(stacks.write(tmp_path, stacks.table(tmp_path))) as up:
        up.wait_for("round 1 of 4: working")
        stacks.kill(up.part("aggregator --config"))
        up.wait_for("round 2 of 4: working")
        stacks.kill(up.part("mosquitto"))
        stacks.kill(up.part(f"one@{TASK}.toml"))
        assert up.end() == 0, up.said()
    said = up.said()
    for part in ("broker", f"one@{TASK}"):
        assert f"\n{part} | has ended with signal SIGKILL" in said
    assert f"\n{TASK} | has ended with signal SIGKILL; started again in 0.2 s" in said
    assert said.count(f"\n{TASK} | has done its work") == 1
    for name in DEVICES:
        assert f"{name}@{TASK} | has done its work" in said
    for number in range(ROUNDS):
        assert f"round {number} of {ROUNDS} closed: 2 answers" in said
    check_finished(tmp_path)


def test_a_killed_stack_leaves_nothing_that_hinders_the_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = stacks.table(tmp_path, **stacks.of_one_device(4))
    config = stacks.write(tmp_path, table)
    with stacks.running(config) as up:
        up.wait_for("round 1 of 4: working")
        agent = up.part(f"one@{TASK}.toml")
        os.kill(agent, signal.SIGSTOP)  # the round does not end
        assert main(["up", "--config", str(config)]) == 73
        assert "another edgeloop up is running on it; stop it" in capfd.readouterr().err
        parts = stacks.children(up.process.pid)
        assert len(parts) == 3
        stacks.kill(up.process.pid)
        up.process.wait()
        os.kill(agent, signal.SIGCONT)
        with stacks.running(config) as again:
            assert again.end() == 0, again.said()
        wait_until(lambda: not any(map(stacks.lives, parts)))
    check_finished(tmp_path, devices=["one"])


def test_a_polite_stop_ends_all_in_order_and_a_restart_goes_on(tmp_path: Path) -> None:
    table = stacks.table(tmp_path, **stacks.of_one_device(4))
    config = stacks.write(tmp_path, table)
    with stacks.running(config) as up:
        up.wait_for("round 1 of 4: working")
        parts = stacks.children(up.process.pid)
        up.process.send_signal(signal.SIGINT)
        assert up.end() == 130, up.said()
        assert not any(map(stacks.lives, parts))
    said = up.said()
    assert "up | stops; a second signal kills" in said
    ends = [line.removeprefix("up | ends ") for line in said.splitlines() if "| ends" in line]
    assert ends == [f"one@{TASK}", TASK, "broker"]
    assert said.index(f"\n{TASK} | stopped") < said.index("up | ends broker")
    with stacks.running(config) as again:
        assert again.end() == 0, again.said()
    assert "resumes at round 0" not in again.said()
    check_finished(tmp_path, devices=["one"])


def test_what_is_wrong_with_a_device_ends_the_start(tmp_path: Path) -> None:
    broken = stacks.device(0)
    broken["data"] = {"source": str(tmp_path / "nowhere")}
    table = stacks.table(tmp_path, agents=[broken, stacks.device(1)])
    with stacks.running(stacks.write(tmp_path, table)) as up:
        assert up.end() == 2
    assert f"error: one@{TASK}: " in up.said()
    assert "nowhere" in up.said().splitlines()[-1]


def test_a_port_that_is_taken_is_named(
    tmp_path: Path, start_broker: StartBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    port = start_broker().settings.port
    config = stacks.write(tmp_path, stacks.table(tmp_path, broker={"port": port}))
    assert main(["up", "--config", str(config)]) == 73
    assert f"broker.port: {port} is in use; stop what listens there" in capfd.readouterr().err


def test_an_edge_gateway_has_agents_only(tmp_path: Path, start_broker: StartBroker) -> None:
    broker = {"run": "external", "port": start_broker().settings.port}
    (tmp_path / "cloud").mkdir()
    (tmp_path / "edge").mkdir()
    one = {"broker": broker, **stacks.of_one_device()}
    cloud = stacks.table(tmp_path / "cloud", **{**one, "agents": []})
    edge = stacks.table(tmp_path / "edge", **{**one, "aggregators": []})
    with (
        stacks.running(stacks.write(tmp_path / "cloud", cloud)) as above,
        stacks.running(stacks.write(tmp_path / "edge", edge)) as below,
    ):
        assert above.end() == 0, above.said()
        assert below.end() == 0, below.said()
    assert "starts broker" not in above.said() + below.said()


def test_the_brokers_in_a_wheel_will_do(tmp_path: Path) -> None:
    broker = {**stacks.table(tmp_path)["broker"], "run": "wheel"}  # type: ignore[dict-item]
    table = stacks.table(tmp_path, broker=broker, **stacks.of_one_device(2))
    with stacks.running(stacks.write(tmp_path, table)) as up:
        assert up.end() == 0, up.said()
    check_finished(tmp_path, 2, ["one"])


def test_a_stack_that_speaks_by_websockets_behind_a_prefix(tmp_path: Path) -> None:
    way = {"transport": "websockets", "prefix": "plant-3/", "client_id_prefix": "p3-"}
    broker = {**stacks.table(tmp_path)["broker"], **way}  # type: ignore[dict-item]
    table = stacks.table(tmp_path, broker=broker, **stacks.of_one_device(2))
    with stacks.running(stacks.write(tmp_path, table)) as up:
        assert up.end() == 0, up.said()
    check_finished(tmp_path, 2, ["one"])
    (rights,) = tmp_path.rglob("rights.acl")
    assert "plant-3/edgeloop/v1" in rights.read_text()


@pytest.mark.triton
def test_a_stack_with_a_generator(tmp_path: Path) -> None:
    home, ports = triton.home(), asdict(server.free_ports())
    generator = {"home": str(home.folder), **{f"{key}_port": ports[key] for key in ports}}
    task = stacks.task(algorithm="fedktl", rounds=2, cohort={"devices": ["one"]})
    agents = [stacks.device(0)]
    table = stacks.table(tmp_path, generator=generator, aggregators=[task], agents=agents)
    with stacks.running(stacks.write(tmp_path, table)) as up:
        up.wait_for("round 0 of 2: working")
        (tritonserver,) = stacks.children(up.part("generator serve"))
        stacks.kill(up.part("generator serve"))
        up.wait_for("generator | ready: ", times=2)
        assert not stacks.lives(tritonserver)
        assert up.end() == 0, up.said()
    assert "round 1 of 2 closed: 1 answers" in up.said()
