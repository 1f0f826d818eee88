"""One aggregator of a task at a time, wherever its ledger is."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cloud.aggregator import alone
from edgeloop.errors import TakenError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import SERVER, client_id, presence_topic
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.tracing import Notes
from tests.slow_link import slow_link
from tests.world import contract

pytestmark = pytest.mark.broker

CONTRACT = contract(run="second")


@contextmanager
def online(broker: BrokerSettings, notes: Notes) -> Iterator[MqttConnection]:
    presence = presence_topic("t", SERVER)
    with MqttConnection(
        broker, client_id("t", SERVER), [], presence, presence_notes=notes
    ) as connection:
        assert connection.flush(5)
        yield connection


@pytest.mark.parametrize("notes", [alone.presence_notes("first"), {}])
def test_another_one_is_waited_for_and_then_refused(
    broker: BrokerSettings, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    with online(broker, notes) as other:
        with pytest.raises(
            TakenError, match=r"task t: another aggregator of it is online.*; stop it"
        ):
            alone.ensure_only_aggregator(broker, CONTRACT, patience=1.5)
        assert other.connected
        assert other.receive(0) is None, "nothing was taken from it"
    assert "another aggregator seems to be online" in caplog.text
    alone.ensure_only_aggregator(broker, CONTRACT, patience=0.0)


def test_one_of_the_same_run_is_this_one_before_it_was_killed(broker: BrokerSettings) -> None:
    with online(broker, alone.presence_notes("second")):
        alone.ensure_only_aggregator(broker, CONTRACT, patience=0.0)


def test_one_that_goes_is_enough(broker: BrokerSettings) -> None:
    with online(broker, alone.presence_notes("first")) as other:
        other._link._ending = True  # a connection that heals itself would come back
        other._client.reconnect_delay_set(60, 60)
        other._client._sock_close()  # as if it were killed: the broker publishes its last will
        alone.ensure_only_aggregator(broker, CONTRACT, patience=30.0)


def test_another_one_is_seen_over_a_slow_link(
    broker: BrokerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "LISTEN_SECONDS", 0.1)
    presence = presence_topic("t", SERVER).encode()
    with online(broker, {}), slow_link(broker.port, down=lambda data: presence in data) as port:
        slow = broker.model_copy(update={"port": port})
        with pytest.raises(TakenError, match="another aggregator of it is online"):
            alone.ensure_only_aggregator(slow, CONTRACT, patience=0.0)


def test_nobody_has_been_there(broker: BrokerSettings) -> None:
    alone.ensure_only_aggregator(broker, CONTRACT, patience=0.0)
