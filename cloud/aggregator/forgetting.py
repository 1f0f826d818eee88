"""Takes back what a task leaves at the broker and in the database when nobody continues with it."""

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.aggregator import origin
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.settings import TaskSettings
from edgeloop.errors import BrokerAwayError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import ROOT, SERVER, client_id
from edgeloop.runtime.config import BrokerSettings

QUIET_SECONDS = 2.0
"""Without a message, after which the broker is asked whether it has sent all it keeps."""


@dataclass(frozen=True)
class RemovedState:
    """What was taken back.

    Attributes:
        runs: in the ledger.
        messages: that the broker kept.
    """

    runs: int
    messages: int


def forget(settings: TaskSettings) -> RemovedState:
    """Remove a task's runs from its ledger, and its retained messages from the broker.

    Raises:
        RunError: if an aggregator is running the task, or the ledger cannot be used.
        BrokerError: if the broker cannot be reached; then the ledger is as it was.
    """
    with Ledger.open(settings.ledger()) as ledger:
        ledger.claim(settings.name)
        name, topics = client_id(settings.name, SERVER), [f"{ROOT}/{settings.name}/#"]
        messages = clear(settings.broker, name, topics)
        removed = RemovedState(ledger.forget(settings.name), messages)
        origin.forget(settings.folder)
        return removed


def clear(broker: BrokerSettings, name: str, topics: Sequence[str], lasting: bool = True) -> int:
    """Remove the retained messages of topics from the broker; return how many there were.

    Args:
        broker: where.
        name: the client's id.
        topics: filters.
        lasting: see `MqttConnection`.

    Raises:
        BrokerError: if it cannot be reached, or does not take what removes them.
    """
    cleared: set[str] = set()
    with MqttConnection(broker, name, topics, persistent=lasting) as connection:
        while (event := connection.receive_kept(QUIET_SECONDS)) is not None:
            if not isinstance(event, Arrival):
                continue
            event.acknowledge()
            if event.payload:
                cleared.add(event.topic)
                connection.publish(event.topic, b"", retain=True)
        if not connection.flush(QUIET_SECONDS * 10):
            raise BrokerAwayError(broker.address, "does not take messages", "try again")
    return len(cleared)
