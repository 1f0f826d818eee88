"""Tasks as large as they are in the field."""

import re

import pytest

from edgeloop import algorithms
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.errors import RefusedError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.protocol.task import contract_topic
from tests.world import StartBroker, contract

pytestmark = [pytest.mark.broker, pytest.mark.field]

NAMES = tuple(f"warehouse-north-line-{number:04}" for number in range(1000))
WIDTH = 4


def test_a_contract_that_no_packet_holds_is_one_sentence(start_broker: StartBroker) -> None:
    """The broker would cut the connection, again and again, and never say why."""
    broker = start_broker("max_packet_size 20000").settings
    large = contract(algorithm="fedproto", class_names=("x", "y"), devices=NAMES)
    algorithm = algorithms.load("fedproto", classes=2, width=WIDTH)
    told = r"takes packets of 20000 bytes, and edgeloop/v1/t/contract has (\d{5}); raise its limit"
    with MqttConnection(broker, "server", MqttCohort.subscriptions("t")) as connection:
        deadlines = RoundDeadlines(1, 1.0, 1.0)
        with pytest.raises(RefusedError, match=told) as caught:
            MqttCohort(connection, large, algorithm, deadlines, MemoryLog())
    assert "; or name its devices by patterns: admit = [" in str(caught.value)
    limit = re.search(r"raise its limit to (\d+) ", str(caught.value))
    assert limit is not None
    raised = start_broker(f"max_packet_size {limit[1]}").settings
    with MqttConnection(raised, "server", MqttCohort.subscriptions("t")) as connection:
        MqttCohort(connection, large, algorithm, deadlines, MemoryLog())
        assert connection.flush(20), "that is the limit that does"


def test_what_just_fits_is_sent(start_broker: StartBroker) -> None:
    broker = start_broker("max_packet_size 5000").settings
    room = 5000 - len(contract_topic("t")) - 10
    with MqttConnection(broker, "server", []) as connection:
        connection.publish(contract_topic("t"), bytes(room))
        assert connection.flush(20)
        with pytest.raises(RefusedError, match=f"has {room + 1}"):
            connection.publish(contract_topic("t"), bytes(room + 1))
        assert connection.connected
