"""Takes devices out of a run: of its ledger, its files, and of what the broker keeps of it.

The ledger's transaction decides; what comes after is done again at the next start, until it is.
"""

import logging
import secrets
from collections.abc import Collection

from cloud.aggregator import alone, forgetting, outcome, standing
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers, check_begun, held_run, remaining
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.standing import Loaded
from cloud.aggregator.trust import announced
from edgeloop import algorithms, round_history
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.errors import ConfigError, RefusedError, TakenError
from edgeloop.mqtt import leaving
from edgeloop.mqtt.connection import Arrival, MqttConnection, Reconnected
from edgeloop.protocol.task import (
    EVICTED,
    LEFT,
    SERVER,
    Contract,
    broadcast_topic,
    client_id,
    contract_topic,
    leaver,
)
from edgeloop.runtime.config import BrokerSettings
from edgeloop.server_loop import RunState

log = logging.getLogger(__name__)

FLUSH_SECONDS = 20.0
"""For the broker to take the newest broadcast again."""


def take_out(
    settings: TaskSettings,
    contract: Contract,
    algorithm: Loaded,
    ledger: Ledger,
    devices: Collection[str],
) -> Contract:
    """Take devices out of a run, to the bit as if they had never been in it; return its contract.

    Args:
        settings: of the task.
        contract: of the run.
        algorithm: one that can.
        ledger: of the run.
        devices: their names.

    Raises:
        RunError: if the ledger or the folder cannot be used; the devices are out, or they are not.
    """
    forget = algorithm.remove_clients
    assert forget is not None  # noqa: S101 - whoever cannot has said so

    def without(number: int, state: bytes, broadcast: bytes) -> tuple[bytes, bytes]:
        kept = standing.read(contract, algorithm, number, state, broadcast)
        if kept is None:
            return b"", b""  # what cannot be read may have their part in it
        left = RunState(number, *forget(kept.state, devices))
        return standing.frames(contract, left)

    ledger.take_out(devices, without)
    for device in sorted(devices):
        text = "%s is taken out: what is left is as if it had never been there"
        log.info(text, device, extra={"device": device})
    tidy(settings, contract, algorithm, ledger)
    return remaining(contract, ledger)


def tidy(settings: TaskSettings, contract: Contract, algorithm: Loaded, ledger: Ledger) -> None:
    """Remove what files still have of those who were taken out; nothing where nobody was."""
    gone = ledger.departed()
    if not gone:
        return
    ledger.scrub()
    round_history.forget(settings.folder / "history", gone)
    summary = settings.folder / "summary.json"
    if summary.exists():
        stands = standing.found(contract, algorithm, ledger)
        outcome.rewrite(summary, contract, stands, gone)


def sweep(broker: BrokerSettings, task: str) -> None:
    """Clear the broadcasts that the broker keeps of a task; the newest is then published again."""
    topics = [f"{broadcast_topic(task, slot)}/+" for slot in ("0", "1")]
    try:
        forgetting.clear(broker, _passing(task), topics, lasting=False)
    except RefusedError as error:  # the broker wants certain client ids, perhaps
        log.warning("earlier broadcasts that the broker keeps are not cleared: %s", error)


def heard(connection: MqttConnection, contract: Contract, seconds: float | None) -> frozenset[str]:
    """Return who asks to be taken out of a run that is over; nobody after so long without a word.

    Args:
        connection: subscribed to the devices' presence.
        contract: of the run.
        seconds: None to wait for good.
    """

    def receive() -> Arrival | Reconnected | None:
        return connection.receive(None) if seconds is None else connection.receive_kept(seconds)

    while (event := receive()) is not None:
        if isinstance(event, Arrival):
            event.acknowledge()
            if event.trust.refusal:
                log.warning("ignored a message on %s: %s", event.topic, event.trust.refusal)
                continue
            device = leaver(contract, event.topic, event.payload, event.notes)
            if device is not None:
                return frozenset([device])
    return frozenset()


def tell(
    connection: MqttConnection,
    broker: BrokerSettings,
    contract: Contract,
    algorithm: Loaded,
    ledger: Ledger,
) -> None:
    """Have the broker keep where a run stands, and nothing of before."""
    if _kept_run(broker, contract.task) != contract.run:
        return
    sweep(broker, contract.task)
    _say_over(connection, contract, algorithm, ledger)


def tell_again(
    connection: MqttConnection,
    broker: BrokerSettings,
    contract: Contract,
    algorithm: Loaded,
    ledger: Ledger,
) -> None:
    """Have the broker keep that a run is over, if it keeps nothing of the task any more."""
    if _kept_run(broker, contract.task) is None:
        log.info(
            "task %s: the broker has lost that the run is over; telling it again", contract.task
        )
        _say_over(connection, contract, algorithm, ledger)


def _say_over(
    connection: MqttConnection, contract: Contract, algorithm: Loaded, ledger: Ledger
) -> None:
    stands = standing.found(contract, algorithm, ledger)
    members = Members(contract, LedgerMembers(ledger))
    patience = RoundDeadlines(0, 0.0, 0.0)
    cohort = MqttCohort(connection, contract, algorithm, patience, ledger, members=members)
    cohort.tell(stands.rounds, stands.broadcast)
    connection.flush(FLUSH_SECONDS)


def _kept_run(broker: BrokerSettings, task: str) -> str | None:
    """Return the run whose contract the broker keeps; None if it keeps none."""
    topics = [contract_topic(task)]
    with MqttConnection(broker, _passing(task), topics, persistent=False) as connection:
        try:
            return leaving.contract_at(connection, task, alone.LISTEN_SECONDS).run
        except ConfigError:
            return None


def leave(settings: TaskSettings, device: str) -> bool:
    """Take a device out of a task's run, or have the aggregator do so that runs it.

    Returns:
        whether it is out; if not, the aggregator has been asked, and does so when it can.

    Raises:
        BrokerError: if the broker cannot be reached; then nothing has changed.
        ConfigError: if the device is none of the task's, or the algorithm cannot take one out.
        RunError: if the ledger holds no run of the task, or cannot be used.
    """
    leaving.check(settings.name, settings.algorithm, settings.cohort.secure)
    check_device(settings, device, "--forget-device")
    check_begun(settings, "no device has contributed yet: take its name out of cohort.devices")
    try:
        with Ledger.open(settings.ledger()) as ledger:
            _leave(settings, ledger, device)
            return True
    except TakenError:
        return _ask_aggregator(settings, device, LEFT)


def check_device(settings: TaskSettings, device: str, option: str) -> None:
    """Refuse a name that is none of a task's devices.

    Raises:
        ConfigError: naming the option that has the name.
    """
    if not settings.cohort.invites(device):
        problem = f"{device} is no device of {settings.name}"
        raise ConfigError(option, problem, "name one of its cohort")


def evict(settings: TaskSettings, device: str) -> bool:
    """Have a device take no more part in a task's run; what it has given stays.

    Returns:
        whether it is out; if not, the aggregator has been asked, and does so when it can.

    Raises:
        BrokerError: if the aggregator is running, and the broker cannot be reached.
        ConfigError: if the device is none of the task's.
        RunError: if the ledger holds no run of the task, or cannot be used.
    """
    check_device(settings, device, "--evict")
    check_begun(settings, "name the device in cohort.evicted, or start the aggregator first")
    try:
        with Ledger.open(settings.ledger()) as ledger:
            held_run(settings.name, ledger)
            LedgerMembers(ledger).evict([device])
            return True  # the contract says so when the aggregator is there again
    except TakenError:
        return ask_to_evict(settings, device)


def ask_to_evict(settings: TaskSettings, device: str) -> bool:
    """Have the aggregator that runs the task evict a device; tell whether it is out.

    Raises:
        BrokerError: if the broker cannot be reached.
    """
    return _ask_aggregator(settings, device, EVICTED)


def _ask_aggregator(settings: TaskSettings, device: str, word: bytes) -> bool:
    """Have the aggregator that runs the task let a device go; tell whether it is out."""
    topics, name = [contract_topic(settings.name)], _passing(settings.name)
    with MqttConnection(settings.broker, name, topics, persistent=False) as connection:
        contract = leaving.contract_at(connection, settings.name)
        return not contract.admits(device) or leaving.ask(connection, contract, device, word=word)


def _leave(settings: TaskSettings, ledger: Ledger, device: str) -> None:
    contract = announced(held_run(settings.name, ledger), settings.broker)
    leaving.check(settings.name, contract.algorithm, bool(contract.secure))
    algorithm = algorithms.load_for_contract(contract)
    alone.ensure_only_aggregator(settings.broker, contract)
    name, folder = client_id(settings.name, SERVER), settings.folder
    with MqttConnection(settings.broker, name, [], signed_in=folder) as connection:
        left = take_out(settings, contract, algorithm, ledger, [device])
        tell(connection, settings.broker, left, algorithm, ledger)


def _passing(task: str) -> str:
    """Return a client id for a look at the broker beside the aggregator's own."""
    return f"{client_id(task, SERVER)}.look-{secrets.token_hex(4)}"
