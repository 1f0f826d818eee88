"""Takes uploads for a task's aggregator: checks them, writes them, and gives receipts.

Several such processes share the uploads of a task: the broker gives each message to one of them.
The aggregator opens and closes the rounds, and finds in the ledger what they have written.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloud.aggregator.agreement import GeneratorHandle
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers, remaining
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.shared_rounds import SharedRounds, check_shared
from cloud.aggregator.trust import completed
from edgeloop import algorithms
from edgeloop.algorithm import Algorithm
from edgeloop.answers import Report
from edgeloop.cohorts.batches import INFLIGHT, MOST_AT_ONCE
from edgeloop.cohorts.flood import FloodGate
from edgeloop.cohorts.judging import AnswerJudge, Judged
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.rates import RateLimits
from edgeloop.cohorts.receipts import Receipts
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.chunks import place_of
from edgeloop.protocol.gathering import Gathering, Verdict
from edgeloop.protocol.task import SERVER, Contract, client_id, upload_topic
from edgeloop.protocol.wire import Frame
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks at which round is open, and at who is in the run."""

WAIT_SECONDS, TELL_SECONDS = 1.0, 60.0
"""For a run that has not begun: between two looks, and between two lines on it."""

ONE_MESSAGE = (
    "an answer of several messages, which aggregators that share uploads do not take: raise"
    " chunk_bytes of the device, and the broker's limit"
)


def ingest(settings: TaskSettings) -> None:
    """Take a task's uploads until its run is finished.

    Raises:
        InputError: if the settings, the ledger or the broker are not right.
        UnavailableError: if the ledger or the broker is away.
    """
    settings = completed(settings)
    with Ledger.open(settings.ledger()) as ledger:
        check_shared(ledger)
        contract = _begun(ledger, settings.name)
        handle = GeneratorHandle(settings)
        algorithm = algorithms.load_for_contract(contract, handle.generator)
        with connect(settings) as connection:
            replica = Replica(connection, contract, algorithm, ledger, settings.cohort.rate_limits)
            log.info("task %s: takes uploads", settings.name)
            while not ledger.finished():
                replica.take_for(LOOK_SECONDS)


def _begun(ledger: Ledger, task: str) -> Contract:
    """Return the contract of a task's run, once there is one and its first round is open."""
    tell = Timer(TELL_SECONDS, first=0.0)
    while True:
        contract = ledger.join(task)
        if contract is not None and ledger.run_state() is not None:
            return contract
        if tell.due():
            log.info("task %s: waiting for its aggregator to begin the run", task)
        time.sleep(WAIT_SECONDS)


def connect(settings: TaskSettings) -> MqttConnection:
    """Return a connection that has its share of a task's uploads.

    The broker keeps nothing for it when it is away: it would keep what others could take. What is
    lost with it has no receipt, and its devices send it again.
    """
    name = f"{client_id(settings.name, SERVER)}.ingest-{secrets.token_hex(4)}"
    topic = f"$share/ingest-{settings.name}/{upload_topic(settings.name, '+')}"
    return MqttConnection(settings.broker, name, [topic], persistent=False, inflight=INFLIGHT)


class Replica:
    """One of those who take uploads.

    Args:
        connection: that has its share of them.
        contract: of the run, which the ledger has joined.
        algorithm: of the contract.
        ledger: shared.
        limits: what one device may send this process within a minute.
    """

    def __init__(
        self,
        connection: MqttConnection,
        contract: Contract,
        algorithm: Algorithm[Any, Any, Any],
        ledger: Ledger,
        limits: RateLimits = RateLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._connection, self._listed, self._algorithm = connection, contract, algorithm
        self._ledger, self._rounds = ledger, SharedRounds(ledger)
        self._receipts = Receipts(connection, contract)
        self._flood = FloodGate(limits, contract.devices, self._receipts)
        self._contract: Contract | None = None
        self._look()

    def take_for(self, seconds: float) -> None:
        """Take what comes within so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            events = self._connection.receive_all(left, MOST_AT_ONCE)
            self._take([each for each in events if isinstance(each, Arrival)])
        self._look()

    def _look(self) -> None:
        """See which round is open, and who is in the run."""
        self._listed = self._ledger.join(self._listed.task) or self._listed  # with added rounds
        contract = remaining(self._listed, self._ledger)
        if contract != self._contract:
            self._contract = contract
            members = Members(contract, LedgerMembers(self._ledger))
            self._flood.members = members
            self._judge = AnswerJudge(self._algorithm, self._ledger, members, self._receipts)
            self._gathering = self._opened(contract)
        elif self._rounds.newest() != self._gathering.round_number:
            self._gathering = self._opened(contract)

    def _opened(self, contract: Contract) -> Gathering[Frame]:
        """Return the open round, without the answers that others have taken."""
        number = self._rounds.newest()
        kinds = self._kinds_of(number, contract)
        return Gathering(number, frozenset(contract.devices), 0, 0.0, 0.0, kinds=kinds)

    def _kinds_of(self, number: int, contract: Contract) -> tuple[type, ...]:
        return (Report,) if number >= contract.rounds else (self._algorithm.upload, Report)

    def _take(self, arrivals: list[Arrival]) -> None:
        """Judge what has arrived, write what counts, then tell devices and broker."""
        excess = [self._excess(each) for each in arrivals]
        judged = self._judged_all(arrivals, excess)
        verdicts = self._written(judged)
        if verdicts is None:  # the round was closed meanwhile
            self._look()
            self._gathering = self._opened(self._contract or self._listed)
            judged = self._judged_all(arrivals, excess)
            verdicts = self._written(judged) or {}
        with self._connection.together():
            self._tell(judged, verdicts)
            for arrival in arrivals:
                arrival.acknowledge()

    def _excess(self, arrival: Arrival) -> Judged | None:
        """Count a message; return what to do with it if it is one too many."""
        device, number = _sender(arrival), self._gathering.round_number
        if arrival.trust.refusal:
            device = ""  # counts as a stranger's, and not against the device
        return self._flood.refused(device, number, "upload", arrival.payload)

    def _judged_all(
        self, arrivals: Sequence[Arrival], excess: Sequence[Judged | None]
    ) -> list[Judged | None]:
        pairs = zip(excess, arrivals, strict=True)
        return [found or self._judged(each) for found, each in pairs]

    def _judged(self, arrival: Arrival) -> Judged | None:
        device = _sender(arrival)
        place = place_of(arrival.payload)
        number = self._gathering.round_number
        if place is not None and place.count > 1:
            self._receipts.give(device, number, place.digest, Verdict.MALFORMED, ONE_MESSAGE)
            return None
        found = self._judge.judge(self._gathering, device, arrival)
        if self._is_ahead(found):
            self._look()
            found = self._judge.judge(self._gathering, device, arrival)
        self._gathering.uploads.pop(device, None)  # the aggregator reads it from the ledger
        return found

    def _is_ahead(self, found: Judged | None) -> bool:
        """Return whether an answer is to a round that has opened since the last look."""
        message = None if found is None else found.message
        if message is None or message.verdict is not Verdict.WRONG_ROUND:
            return False
        return self._rounds.newest() != self._gathering.round_number

    def _written(self, judged: Iterable[Judged | None]) -> Mapping[str, Verdict] | None:
        new = [each.upload for each in judged if each is not None and each.upload is not None]
        return self._rounds.take(self._gathering.round_number, new) if new else {}

    def _tell(self, judged: Iterable[Judged | None], verdicts: Mapping[str, Verdict]) -> None:
        for each in judged:
            if each is None:
                continue
            if each.upload is None:
                each.receipt()
                continue
            device, digest = each.upload[:2]
            if verdict := verdicts.get(device):  # without one it comes again
                self._receipts.give(device, self._gathering.round_number, digest, verdict)


def _sender(arrival: Arrival) -> str:
    return arrival.topic.rpartition("/")[2]
