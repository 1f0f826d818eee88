"""A fleet answers every round of a task as its devices would, and says what went wrong."""

import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from cloud.aggregator.settings import TaskSettings
from edge.fleet import command
from edge.fleet.answers import ALGORITHMS, Answers, parse_size, task_file
from edge.fleet.measured import Measured, quantile
from edge.fleet.names import names_of
from edgeloop import algorithms
from edgeloop.client import Report
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.errors import BrokerAwayError, ConfigError
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract, contract_topic, presence_topic
from edgeloop.runtime.config import BrokerSettings, parse
from edgeloop.runtime.ports import free_port
from tests.one_device import run_aggregator
from tests.world import contract

DEVICES = tuple(f"device-{number:03}" for number in range(40))
CLASSES = tuple(map(str, range(10)))
CONTRACT = contract(run="now", class_names=CLASSES, width=100, devices=DEVICES)

PROGRAM = """
import sys
from importlib.metadata import EntryPoint
from edgeloop.cli import main
point = EntryPoint("fleet", "edge.fleet.command:main", main.GROUP)
with main.stopping.terminable():
    code = main._run(point, ["fleet", *sys.argv[1:]])
assert "torch" not in sys.modules
sys.exit(code)
"""


def fleet(port: int, *words: str) -> list[str]:
    return ["--devices", "40", "--task", "t", "--port", str(port), *words]


@contextmanager
def aggregated(broker: BrokerSettings, agreed: Contract = CONTRACT) -> Iterator[Any]:
    """Run the task's rounds meanwhile; yield what the cohort says of all of them."""
    algorithm = algorithms.load("fedproto", classes=10, width=100)
    quorum = RoundDeadlines(len(agreed.devices), 60.0, 60.0)
    topics = MqttCohort.subscriptions(agreed.task)
    with MqttConnection(broker, "server", topics) as connection, ThreadPoolExecutor(1) as pool:
        cohort = MqttCohort[Any, Any](connection, agreed, algorithm, quorum, MemoryLog())
        _, broadcast = algorithm.start()

        def rounds() -> tuple[Sequence[Any], Any]:
            asked = [cohort.ask(number, broadcast) for number in range(agreed.rounds)]
            return asked, cohort.finish(agreed.rounds, broadcast)

        yield pool.submit(rounds)


@contextmanager
def keeping(broker: BrokerSettings, agreed: Contract) -> Iterator[MqttConnection]:
    """Have the broker keep a contract of nobody's."""
    topics = [presence_topic("t", "+")]
    with MqttConnection(broker, "server", topics) as connection:
        connection.publish(contract_topic("t"), agreed.text().encode(), retain=True)
        assert connection.flush(5)
        yield connection


@pytest.mark.broker
def test_every_device_answers_every_round(
    broker: BrokerSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    with aggregated(broker) as running:
        assert command.main(fleet(broker.port, "--payload", "2KB", "--out", str(out))) == 0
        asked, last = running.result(60)
    for answers in asked:
        assert list(answers) == list(DEVICES)
        kinds = {type(each.upload) for each in answers.values()}
        assert kinds == {PrototypeUpload}
        values = {each.upload.prototypes_ND.tobytes() for each in answers.values()}
        assert len(values) > 30, "devices differ"
    assert list(last) == list(DEVICES)
    told = json.loads(out.read_text())
    assert (told["devices"], told["connected"], told["failures"]) == (40, 40, {})
    assert [each["uploads"] for each in told["rounds"].values()] == [40, 40, 40]
    assert [each["receipts"] for each in told["rounds"].values()] == [40, 40, 40]
    first = told["rounds"]["0"]
    assert first["p50_seconds"] <= first["receipt_p50_seconds"] <= first["receipt_p99_seconds"] < 60
    assert 1800 <= told["rounds"]["0"]["bytes"] <= 2200
    assert 0 < told["rounds"]["0"]["p50_seconds"] <= told["rounds"]["0"]["p99_seconds"] < 60
    assert "40 of 40 devices connected" in capsys.readouterr().out


@pytest.mark.broker
def test_devices_join_a_task_that_admits_their_names(
    tmp_path: Path, broker: BrokerSettings
) -> None:
    """And answer what they are asked: all of them, then half of those who are there."""
    file, out = tmp_path / "task.toml", tmp_path / "out.json"
    text = task_file("t", 1, 2_000, broker.port).replace("rounds = 5", "rounds = 2")
    table = tomllib.loads(text.replace('"t-task"', json.dumps(str(tmp_path / "task"))))
    cohort = {"admit": ["fleet-*"], "quorum": 4, "sample": "50%"}
    file.write_text(tomli_w.dumps({**table, "cohort": {**cohort, "grace_seconds": 3.0}}))
    with run_aggregator(file, tmp_path / "aggregator.log") as running:
        words = ["--devices", "9", "--task", "t", "--port", str(broker.port), "--out", str(out)]
        assert command.main(words) == 0, running.said()
        assert running.process.wait(60) == 0, running.said()
    record = json.loads((tmp_path / "task" / "participation.json").read_text())
    first, second = record["rounds"]
    assert "asked" not in first, "nobody was there to be drawn as it opened"
    assert len(second["asked"]) == 4
    assert second["answered"] == second["asked"]
    joined = {each["device"] for each in record["members"]}
    assert joined == {f"fleet-{number:05}" for number in range(9)}
    told = json.loads(out.read_text())
    assert [each["uploads"] for each in told["rounds"].values()] == [9, 4, 9]


def test_names_are_those_that_a_task_takes() -> None:
    def names(count: int, *admit: str, **changes: Any) -> tuple[str, ...]:
        return names_of(CONTRACT.model_copy(update={"admit": admit, **changes}), count)

    assert names(2) == DEVICES[:2]
    assert names(42, "a-*", "b")[40:] == ("a-00000", "a-00001")
    assert names(2, "*", devices=()) == ("device-00000", "device-00001")
    assert names(1, "*-left", devices=()) == ("device-00000-left",)
    assert names(3, "x?", devices=(), excluded=("x1",)) == ("x0", "x2", "x3")
    assert names(1, "device-000", "y", devices=("device-000",)) == ("device-000",)
    with pytest.raises(ConfigError, match=r"11, and t invites 0, and admits x\?; ask for no more"):
        names(11, "x?", devices=())


@pytest.mark.broker
def test_a_part_of_those_who_are_invited_says_that_it_is_there_and_goes(
    broker: BrokerSettings,
) -> None:
    topics = {presence_topic("t", each) for each in DEVICES[:3]}
    with keeping(broker, CONTRACT) as connection:
        words = ["--devices", "3", "--task", "t", "--port", str(broker.port)]
        with program(*words) as running:
            assert who_says(connection, b"online", len(topics)) == topics
            running.send_signal(signal.SIGINT)
            written, told = running.communicate(timeout=60)
        assert running.returncode == 130, told
        assert "stopped by Ctrl-C" in told
        assert "3 of 3 devices connected" in written
        assert who_says(connection, b"offline", len(topics)) == topics


def who_says(connection: MqttConnection, state: bytes, count: int) -> set[str]:
    """Return the topics of so many devices that say this; a message may come twice (QoS 1)."""
    found: set[str] = set()
    while len(found) < count:
        messages = connection.receive_all(30, 1)
        assert messages, f"only {sorted(found)} say {state!r}"
        for each in messages:
            each.acknowledge()  # type: ignore[union-attr]  # none is a reconnection
            if each.payload == state:  # type: ignore[union-attr]
                found.add(each.topic)  # type: ignore[union-attr]
    return found


@contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PROGRAM, *words]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=root) as running:
        yield running


@pytest.mark.broker
@pytest.mark.parametrize(
    ("words", "field", "problem"),
    [
        (["--devices", "41"], "--devices", "41, and t invites 40"),
        (["--payload", "40KB"], "--payload", "40000 bytes, and t has uploads of"),
        (["--payload", "many"], "--payload", "'many' is no size"),
        (["--payload", "0"], "--payload", "'0' is no size"),
    ],
)
def test_what_cannot_be_is_refused(
    broker: BrokerSettings, words: list[str], field: str, problem: str
) -> None:
    with keeping(broker, CONTRACT), pytest.raises(ConfigError) as caught:
        command.main([*fleet(broker.port), *words])
    assert str(caught.value).startswith(f"{field}: {problem}")


@pytest.mark.broker
def test_a_task_of_other_uploads_is_refused(broker: BrokerSettings) -> None:
    other = CONTRACT.model_copy(update={"algorithm": "fedavg"})
    with keeping(broker, other), pytest.raises(ConfigError, match="a task of fedavg, whose"):
        command.main(fleet(broker.port))


@pytest.mark.broker
def test_a_task_that_is_not_there_is_named(
    broker: BrokerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CONTRACT_SECONDS", 0.5)
    with pytest.raises(ConfigError, match="keeps no contract; start its aggregator"):
        command.main(fleet(broker.port))


def test_a_broker_that_is_away_is_named(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "broker.toml"
    file.write_text(f"port = {port}\nconnect_seconds = 0.5\n")
    with pytest.raises(BrokerAwayError, match=f"127.0.0.1:{port}"):
        command.main(["--devices", "2", "--broker", str(file)])


def test_more_connections_than_the_system_allows_are_refused_at_once() -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + PROGRAM, "--devices", "300"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 2
    assert "may open 300 connections; raise the limit: ulimit -n 364" in done.stderr


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("payload", [None, 2_100])
def test_a_real_aggregator_takes_what_a_fleet_answers(name: str, payload: int | None) -> None:
    agreed = CONTRACT.model_copy(update={"algorithm": name})
    algorithm = algorithms.load(name, classes=10, width=100)
    answers = Answers(agreed, payload)
    for number in range(2):
        frame = answers.frame(DEVICES[0], number)
        found = wire.decode(frame, algorithm.upload, Report, sizes=algorithm.sizes)
        algorithm.check(found[algorithm.upload])
        assert (found.envelope.sender, found.envelope.round) == (DEVICES[0], number)
        assert payload is None or abs(len(frame) - payload) <= 150
    last = wire.decode(answers.frame(DEVICES[0], agreed.rounds), Report)
    assert last.envelope.round == agreed.rounds


@pytest.mark.parametrize("payload", [2_000, 40_000, 1_000_000])
def test_a_task_that_is_written_is_one_with_uploads_of_that_size(payload: int) -> None:
    table = tomllib.loads(task_file("load", 30, payload, 1883))
    settings = parse(table, TaskSettings, "task")
    agreed = CONTRACT.model_copy(
        update={"class_names": settings.class_names, "width": settings.width}
    )
    frame = Answers(agreed, payload).frame(DEVICES[0], 0)
    assert abs(len(frame) - payload) <= 0.1 * payload
    assert len(settings.cohort.devices) == 30


@pytest.mark.parametrize(
    ("text", "size"), [("40KB", 40_000), ("1MiB", 2**20), ("7", 7), ("2 kb", 2000)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_numbers_of_a_round() -> None:
    times = iter([10.0, 10.5, 11.0, 14.0, 15.0])
    found = Measured(2, clock=lambda: next(times))
    first, second = found.left(0, 100), found.left(0, 120)
    found.taken(0, first)
    found.taken(0, second)
    assert found.rounds[0].latencies == [1.0, 3.5]
    assert found.rounds[0].rate == 2 / 4.0
    found.receipted(0, second)
    assert found.rounds[0].receipts == [4.5]
    assert found.rounds[0].size == 120
    assert (quantile([3.0, 1.0, 2.0], 0.5), quantile([1.0, 2.0], 0.99)) == (2.0, 2.0)
