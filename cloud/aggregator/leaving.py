"""Takes devices out of a run: of its ledger, its files, and of what the broker keeps of it.

The ledger's transaction decides; what comes after is done again at the next start, until it is.
"""

import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace

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


@dataclass(frozen=True)
class StoredRun:
    """A run as its ledger has it, which devices leave.

    Attributes:
        settings: of the task.
        contract: of the run.
        algorithm: of the run, from its contract.
        ledger: open.
    """

    settings: TaskSettings
    contract: Contract
    algorithm: Loaded
    ledger: Ledger

    def take_out(self, devices: Collection[str]) -> "StoredRun":
        """Take devices out, to the bit as if they had never been in it; return the run since.

        Args:
            devices: their names; the algorithm can forget them.

        Raises:
            RunError: if ledger or folder cannot be used; the devices are out, or they are not.
        """
        forget = self.algorithm.remove_clients
        assert forget is not None  # noqa: S101 - whoever cannot has said so

        def without(number: int, state: bytes, broadcast: bytes) -> tuple[bytes, bytes]:
            kept = standing.read(self.contract, self.algorithm, number, state, broadcast)
            if kept is None:
                return b"", b""  # what cannot be read may have their part in it
            left = RunState(number, *forget(kept.state, devices))
            return standing.frames(self.contract, left)

        self.ledger.take_out(devices, without)
        for device in sorted(devices):
            text = "%s is taken out: what is left is as if it had never been there"
            log.info(text, device, extra={"device": device})
        self.tidy()
        return replace(self, contract=remaining(self.contract, self.ledger))

    def tidy(self) -> None:
        """Remove what files still have of those who were taken out; nothing where nobody was."""
        gone = self.ledger.departed()
        if not gone:
            return
        self.ledger.scrub()
        round_history.forget(self.settings.folder / "history", gone)
        summary = self.settings.folder / "summary.json"
        if summary.exists():
            stands = standing.found(self.contract, self.algorithm, self.ledger)
            outcome.rewrite(summary, self.contract, stands, gone)

    def tell(self, connection: MqttConnection) -> None:
        """Have the broker keep where the run stands, and nothing of before."""
        if self._kept_run() == self.contract.run:
            sweep(self.settings.broker, self.contract.task)
            self._publish(connection)

    def tell_again(self, connection: MqttConnection) -> None:
        """Have the broker keep that the run is over, if it keeps nothing of the task any more."""
        if self._kept_run() is None:
            text = "task %s: the broker has lost that the run is over; telling it again"
            log.info(text, self.contract.task)
            self._publish(connection)

    def _publish(self, connection: MqttConnection) -> None:
        stands = standing.found(self.contract, self.algorithm, self.ledger)
        members = Members(self.contract, LedgerMembers(self.ledger))
        patience = RoundDeadlines(0, 0.0, 0.0)
        cohort = MqttCohort(
            connection, self.contract, self.algorithm, patience, self.ledger, members=members
        )
        cohort.tell(stands.rounds, stands.broadcast)
        connection.flush(FLUSH_SECONDS)

    def _kept_run(self) -> str | None:
        """Return the run whose contract the broker keeps; None if it keeps none."""
        task = self.contract.task
        topics = [contract_topic(task)]
        broker, name = self.settings.broker, _passing(task)
        with MqttConnection(broker, name, topics, persistent=False) as connection:
            try:
                return leaving.contract_at(connection, task, alone.LISTEN_SECONDS).run
            except ConfigError:
                return None


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
    run = StoredRun(settings, contract, algorithm, ledger)
    with MqttConnection(settings.broker, name, [], signed_in=folder) as connection:
        run.take_out([device]).tell(connection)


def _passing(task: str) -> str:
    """Return a client id for a look at the broker beside the aggregator's own."""
    return f"{client_id(task, SERVER)}.look-{secrets.token_hex(4)}"
