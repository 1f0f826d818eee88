"""Whether another aggregator of the same task is at the broker, which no ledger's lock can tell."""

import logging
import secrets
import time
from collections.abc import Mapping

from edgeloop.errors import RefusedError, TakenError
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import SERVER, Contract, client_id, presence_topic
from edgeloop.runtime.config import BrokerSettings

log = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0
"""For what the broker keeps to arrive, before it is asked whether that is all."""

TIMEOUT_SECONDS = 60.0
"""For an aggregator that was killed to be missed: brokers wait one and a half times the keep-alive,
which is 30 s."""


def presence_notes(run: str) -> Mapping[str, str]:
    """Return the notes that go with an aggregator's "online"."""
    return {"run": run}


def ensure_only_aggregator(
    broker: BrokerSettings, contract: Contract, patience: float = TIMEOUT_SECONDS
) -> None:
    """Return when no other aggregator of the task is online.

    One of the same run is this one before it was killed, since the run's ledger has one writer.

    Raises:
        TakenError: if one of another run is, and stays.
        BrokerError: if the broker cannot be reached.
    """
    task = contract.task
    name = f"{client_id(task, SERVER)}.look-{secrets.token_hex(4)}"
    try:
        with MqttConnection(
            broker, name, [presence_topic(task, SERVER)], persistent=False
        ) as connection:
            if refusals := connection.refusals():
                _not_known(task, refusals[0])
            elif not _is_alone(connection, contract, patience):
                problem = "another aggregator of it is online at the broker, with another run"
                remedy = "stop it, or give this task another name"
                raise TakenError(f"task {task}", problem, remedy)
    except RefusedError as error:  # the broker wants certain client ids, perhaps
        _not_known(task, error.problem)


def _not_known(task: str, why: str) -> None:
    log.warning("task %s: cannot tell whether another aggregator is online: broker %s", task, why)


def _is_alone(connection: MqttConnection, contract: Contract, patience: float) -> bool:
    deadline, said = time.monotonic() + patience, False
    other = _was_another(connection, contract)
    while other and (left := deadline - time.monotonic()) > 0:
        if not said:
            said = True
            text = "task %s: another aggregator seems to be online; waiting %.0f s for it to go"
            log.warning(text, contract.task, patience)
        event = connection.receive(min(left, LISTEN_SECONDS))
        other = _is_another(event, contract) if isinstance(event, Arrival) else other
    return not other


def _was_another(connection: MqttConnection, contract: Contract) -> bool:
    """Return whether another aggregator is online, by what the broker keeps."""
    while (event := connection.receive_kept(LISTEN_SECONDS)) is not None:
        if isinstance(event, Arrival):
            return _is_another(event, contract)
    return False


def _is_another(event: Arrival, contract: Contract) -> bool:
    event.acknowledge()
    if event.trust.refusal:
        log.warning("task %s: ignored another's presence: %s", contract.task, event.trust.refusal)
        return False
    return event.payload == b"online" and event.notes.get("run") != contract.run
