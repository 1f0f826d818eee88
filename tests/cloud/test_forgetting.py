"""What a task leaves at a broker and in a database is taken back, and nothing else."""

from pathlib import Path

import pytest

from cloud.aggregator import forgetting
from cloud.aggregator.ledger import Ledger, RoundCounts
from edgeloop.cli.main import main
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import ROOT
from edgeloop.runtime.config import BrokerSettings
from tests.cloud.stack import stacks
from tests.cloud.test_ledger import rows
from tests.postgres import Postgres
from tests.slow_link import slow_link
from tests.world import contract

pytestmark = [pytest.mark.broker, pytest.mark.postgresql]
TABLES = ("runs", "rounds", "uploads")


@pytest.fixture
def url(postgres: Postgres) -> str:
    """A database with two tasks, each with an upload."""
    url = postgres.database()
    for task in ("cats", "dogs"):
        with Ledger.open(url) as ledger:
            ledger.adopt(contract(task=task, run=f"run-{task}"))
            ledger.begin(b"state", b"broadcast")
            ledger.record(0, "one", "digest", b"payload")
            ledger.close_round(0, b"state", b"broadcast", RoundCounts(1, 1, 2))
    return url


@pytest.fixture
def config(tmp_path: Path, broker: BrokerSettings, url: str) -> Path:
    table = stacks.task(name="cats", folder=str(tmp_path / "cats"), store=url)
    return stacks.write(tmp_path, {**table, "broker": {"port": broker.port}})


def kept(broker: BrokerSettings, looker: str) -> set[str]:
    """Return the topics of which the broker keeps a message, as a new client sees them."""
    with MqttConnection(broker, looker, [f"{ROOT}/#"]) as connection:
        found = iter(lambda: connection.receive_kept(0.1), None)
        return {event.topic for event in found if isinstance(event, Arrival)}


def counts(url: str) -> list[tuple[object, ...]]:
    return [rows(url, f"select run, count(*) from {table} group by run")[0] for table in TABLES]  # noqa: S608


def test_a_task_is_forgotten_and_the_others_are_not(
    config: Path, url: str, broker: BrokerSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    of_cats = ["cats/contract", "cats/round", "cats/broadcast/0/0", "cats/presence/one"]
    with MqttConnection(broker, "before", []) as connection:
        for topic in (*of_cats, "dogs/contract"):
            connection.publish(f"{ROOT}/{topic}", b"retained", retain=True)
        assert connection.flush(10)
    assert len(kept(broker, "first")) == 5
    assert main(["aggregator", "--config", str(config), "--forget"]) == 0
    assert "forgotten: 1 runs, 4 messages of cats" in capfd.readouterr().out
    assert kept(broker, "second") == {f"{ROOT}/dogs/contract"}
    assert counts(url) == [("run-dogs", 1), ("run-dogs", 2), ("run-dogs", 1)]
    with Ledger.open(url) as ledger:  # and the name is free
        assert ledger.adopt(contract(task="cats", run="other", rounds=9)).run == "other"


def test_what_comes_over_a_slow_link_is_forgotten_too(
    broker: BrokerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "QUIET_SECONDS", 0.1)
    topics = {f"{ROOT}/cats/presence/{number}" for number in range(60)}
    with MqttConnection(broker, "before", []) as connection:
        for topic in topics:
            connection.publish(topic, b"retained", retain=True)
        assert connection.flush(10)
    with slow_link(broker.port, down=lambda data: 0.5 * (b"retained" in data)) as port:
        slow = broker.model_copy(update={"port": port})
        assert forgetting.clear(slow, "clears", [f"{ROOT}/cats/#"], lasting=False) == 60
    assert not kept(broker, "after") & topics


def test_a_task_that_runs_is_left_alone(
    config: Path, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Ledger.open(url) as ledger:
        ledger.adopt(contract(task="cats", run="run-cats"))
        assert main(["aggregator", "--config", str(config), "--forget"]) == 73
    assert "another aggregator is running task cats on it; stop it" in capfd.readouterr().err
    assert len(rows(url, "select * from runs")) == 2
