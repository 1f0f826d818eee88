"""Asks a task to take a device out; the broker keeps the word until the aggregator has heard it.

Who may say it is the broker's to decide, by the rights that it gives: a device of itself, and who
has the aggregator's certificate of any device.
"""

import logging
import time

from pydantic import ValidationError

from edgeloop import algorithms
from edgeloop.errors import BrokerAwayError, ConfigError
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.task import LEFT, Contract, contract_topic, presence_topic

log = logging.getLogger(__name__)

CONTRACT_SECONDS = 5.0
"""For the contract that the broker keeps to arrive."""

ANSWER_SECONDS = 30.0
"""For an aggregator that is there to take a device out; it hears of it when a round has closed."""


def check(task: str, algorithm: str, secure: bool = False) -> None:
    """Refuse a task that nothing can be taken out of.

    Args:
        task: its name.
        algorithm: its algorithm's.
        secure: whether its run has secure aggregation.

    Raises:
        ConfigError: naming its algorithm, or secure aggregation.
    """
    if secure:
        problem = f"{task} has sums only, and nobody can take one device's part out of a sum"
        remedy = f"stop the device, and begin a new run of {task} without it"
        raise ConfigError("secure aggregation", problem, remedy)
    if not algorithms.info(algorithm).forgets:
        problem = f"{algorithm} cannot take a device out: what it learned of one is in all numbers"
        remedy = f"stop the device, and begin a new run of {task} without it"
        raise ConfigError("algorithm", problem, remedy)


def contract_at(
    connection: MqttConnection, task: str, seconds: float = CONTRACT_SECONDS
) -> Contract:
    """Return the contract that the broker keeps of a task.

    Args:
        connection: subscribed to the contract's topic.
        task: its name.
        seconds: to wait for it before the broker is asked whether it has sent all.

    Raises:
        BrokerAwayError: if the broker does not answer.
        ConfigError: if it keeps none.
    """
    while (event := connection.receive_kept(seconds)) is not None:
        if (found := _contract_in(event, task)) is not None:
            return found
    problem = f"{task}, of which the broker keeps no contract"
    raise ConfigError("task", problem, "start its aggregator, or name the task that was joined")


def ask(
    connection: MqttConnection,
    contract: Contract,
    device: str,
    seconds: float = ANSWER_SECONDS,
    word: bytes = LEFT,
) -> bool:
    """Ask that a device be taken out of a run; tell whether it has been.

    If not, the broker keeps the word, and the aggregator hears of it when it is there.

    Args:
        connection: subscribed to the contract's topic.
        contract: of the run.
        device: its name.
        seconds: to wait for the aggregator.
        word: `LEFT`, or `EVICTED` by the operator, which leaves what the device has given.

    Raises:
        BrokerError: if the broker does not take the word.
    """
    topic, notes = presence_topic(contract.task, device), {"run": contract.run}
    connection.publish(topic, word, retain=True, notes=notes)
    if not connection.flush(CONTRACT_SECONDS, topic):
        raise BrokerAwayError(
            "broker", f"takes no message on {connection.full(topic)}", "see its log, or try again"
        )
    deadline = time.monotonic() + seconds
    while (found := _next(connection, contract.task, deadline)) is not None:
        if found.run != contract.run or not found.admits(device):
            return True
    return False


def _next(connection: MqttConnection, task: str, deadline: float) -> Contract | None:
    """Return the next contract of a task that arrives; None when the time is up."""
    while (left := deadline - time.monotonic()) > 0:
        if (found := _contract_in(connection.receive(left), task)) is not None:
            return found
    return None


def _contract_in(event: Arrival | Reconnected | None, task: str) -> Contract | None:
    """Return the contract of a task that an event is; None if it is something else."""
    if not isinstance(event, Arrival):
        return None
    event.acknowledge()
    if event.topic != contract_topic(task) or not event.payload:
        return None
    if event.trust.refusal:
        log.warning("ignored the contract of %s: %s", task, event.trust.refusal)
        return None
    try:
        return Contract.model_validate_json(event.payload)
    except ValidationError:
        return None  # another edgeloop's, or a stranger's
