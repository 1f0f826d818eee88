"""What is wrong with a stack's file is told by its key, with what to do."""

from pathlib import Path
from typing import Any

import pytest

from cloud.stack import reading
from edgeloop.cli.main import main
from edgeloop.errors import InputError
from edgeloop.runtime.local_broker import program
from tests.cloud.stack import stacks
from tests.cloud.stack.stacks import TASK

EXTERNAL = {"run": "external"}  # which needs no Mosquitto here
NO_TLS = "listen = '0.0.0.0' would let everybody on the network in: give server_certificate_file"


def several(tables: list[dict[str, Any]], **changes: object) -> list[dict[str, Any]]:
    return [{**table, **changes} for table in tables]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"brocker": {}}, "brocker: there is no such key; did you mean broker"),
        ({"folder": 3}, "folder: "),
        ({"broker": {"prot": 1}}, "broker: prot: there is no such key; did you mean port"),
        ({"broker": {"run": "none"}}, "broker: run: "),
        ({"broker": {**EXTERNAL, "listen": "::"}}, "listen is Mosquitto's, and run is 'external'"),
        ({"broker": {"listen": "0.0.0.0"}}, NO_TLS),  # noqa: S104 - refused
        (
            {"broker": {"run": "wheel", "transport": "websockets"}},
            "wheel's broker speaks no websock",
        ),
        ({"broker": {"server_key_file": "k"}}, "server_key_file go together"),
        ({"generator": {"sorce": "x"}}, "generator: sorce: there is no such key; did you mean so"),
        ({"generator": {"grpc_port": 8000}}, "grpc_port: 8000 is generator.http_port, too"),
        ({"agents": [stacks.device(0, task="")]}, "agents.0: task: "),
        (
            {"agents": [stacks.device(0, trainig={})]},
            "agents.0: trainig: there is no such key; did",
        ),
        ({"agents": [stacks.device(0, broker=1)]}, "agents.0: broker: "),
        ({"agents": several([stacks.device(0)] * 2)}, f"agents: one@{TASK} is there twice"),
        ({"agents": several([stacks.device(0), stacks.device(1)], folder="x")}, "have the folder"),
        ({"agents": [stacks.device(0, name="three")]}, "three is not in cohort.devices of"),
        (
            {"aggregators": [stacks.task(cohort={})]},
            "aggregators.0: cohort: devices and admit are empty",
        ),
        ({"aggregators": [stacks.task(http={"port": 0})]}, "http.port: is 0, and the stack must"),
        ({"aggregators": [], "agents": []}, "has nothing but a broker to run; add [[aggreg"),
    ],
)
def test_a_wrong_file(
    changes: dict[str, object],
    problem: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    config = stacks.write(tmp_path, {**stacks.table(tmp_path, broker=EXTERNAL), **changes})
    for options in ([], ["--check"]):
        assert main(["up", "--config", str(config), *options]) == 2
        said = capfd.readouterr().err
        assert said.startswith(f"error: {config}: ")
        assert problem in said
        assert "; " in said
    assert not (tmp_path / "stack").exists()


def test_two_tasks_of_one_port(tmp_path: Path) -> None:
    tasks = [stacks.task(name=name, http={}) for name in ("a", "b")]
    table = stacks.table(tmp_path, broker=EXTERNAL, aggregators=tasks, agents=[])
    with pytest.raises(InputError, match=r"aggregators.1.http.port: 9464 is aggregators.0"):
        reading.read(stacks.write(tmp_path, table))


def test_a_check_says_what_would_run_and_starts_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = stacks.write(tmp_path, stacks.table(tmp_path, broker=EXTERNAL, generator={}))
    assert main(["up", "--check", "--config", str(config)]) == 0
    assert capfd.readouterr().out.splitlines() == [
        "broker: external, 127.0.0.1:1883",
        "generator: digits as triton://127.0.0.1:8001/digits",
        f"aggregator: {TASK}, fedproto",
        f"agent: one@{TASK}",
        f"agent: two@{TASK}",
    ]
    assert not (tmp_path / "stack").exists()


def test_parts_get_the_stacks_broker_and_have_the_last_word(tmp_path: Path) -> None:
    broker = {**EXTERNAL, "host": "cloud.example", "port": 8883, "ca_file": "ca.crt"}
    own = {"certificate_file": "one.crt", "key_file": "one.key", "port": 8884}
    agents = [stacks.device(0, broker=own), stacks.device(1)]
    table = stacks.table(tmp_path, broker=broker, agents=agents, aggregators=[])
    first, second = (seat.checked for seat in reading.read(stacks.write(tmp_path, table)).agents)
    assert (first.broker.address, second.broker.address) == (
        "cloud.example:8884",
        "cloud.example:8883",
    )
    assert (first.broker.ca_file, first.broker.key_file) == (Path("ca.crt"), Path("one.key"))
    assert second.broker.key_file is None
    assert first.folder == tmp_path / "stack" / "agents" / TASK / "one"


def test_a_task_that_asks_a_generator_asks_the_stacks(tmp_path: Path) -> None:
    tasks = [
        stacks.task(name="a", algorithm="fedktl"),
        stacks.task(name="b", algorithm="fedktl", generator="digits"),
        stacks.task(name="c"),
    ]
    for number, task in enumerate(tasks):
        task["http"] = {"port": 9000 + number}
    generator = {"source": "store/faces", "grpc_port": 9999}
    table = stacks.table(
        tmp_path, broker=EXTERNAL, aggregators=tasks, agents=[], generator=generator
    )
    found = reading.read(stacks.write(tmp_path, table)).aggregators
    asked = [seat.checked.generator for seat in found]
    assert asked == ["triton://127.0.0.1:9999/faces", "digits", None]


@pytest.mark.skipif(program() is None, reason="mosquitto is not installed")
def test_a_broker_that_asks_for_certificates(tmp_path: Path) -> None:
    for name in ("ca.crt", "broker.crt", "broker.key"):
        (tmp_path / name).touch()
    broker = {
        "listen": "0.0.0.0",  # noqa: S104 - written, not bound
        "ca_file": str(tmp_path / "ca.crt"),
        "server_certificate_file": str(tmp_path / "broker.crt"),
        "server_key_file": str(tmp_path / "broker.key"),
        "trusted": ["monitor"],
    }
    config = stacks.write(tmp_path, stacks.table(tmp_path, broker=broker))
    with pytest.raises(InputError, match=r"aggregators.0.broker.certificate_file"):
        reading.read(config)
