"""Who is in a run, as devices join, leave and are sent away; and how many must answer."""

import logging
import time
from collections.abc import Callable, Collection

from cloud.aggregator import alone, leaving
from cloud.aggregator.answer_record import AnswerRecord
from cloud.aggregator.leaving import StoredRun
from cloud.aggregator.ledger import Ledger
from cloud.aggregator.membership import LedgerMembers, remaining
from cloud.aggregator.metrics import Metrics
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.standing import Loaded
from cloud.aggregator.watch import EventReporter
from edgeloop.cohorts.deadlines import RoundDeadlines
from edgeloop.cohorts.members import Members
from edgeloop.cohorts.roster import Roster
from edgeloop.errors import EdgeloopError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.participation import ParticipationPolicy, Sampling
from edgeloop.protocol.task import Contract

log = logging.getLogger(__name__)


class RunDevices:
    """The devices of a run, by its contract and its ledger.

    Args:
        settings: of the task.
        contract: as the ledger holds it.
        ledger: open.
        metrics: counts them.

    Attributes:
        contract: without the devices that have left.
        members: who is in the run.
        roster: who is there.
        watch: reports what they send.
        record: what came of it.
        evicted: who was sent away.
    """

    def __init__(
        self, settings: TaskSettings, contract: Contract, ledger: Ledger, metrics: Metrics
    ) -> None:
        self._settings, self._ledger, self._metrics = settings, ledger, metrics
        self.contract = contract
        self.members = Members(contract)
        self.roster = Roster(contract.devices)
        self.record = AnswerRecord()
        self.evicted: frozenset[str] = frozenset()
        self.watch = EventReporter(self.members, metrics, self.record)
        metrics.fleet.watch(self.roster.counts)

    def invite(self) -> None:
        """Read from the ledger who is in the run now."""
        self._invite(remaining(self.contract, self._ledger))

    def _invite(self, contract: Contract) -> None:
        self.contract = contract
        most = self._settings.cohort.max_devices
        self.members = Members(contract, LedgerMembers(self._ledger), most)
        self.watch = EventReporter(self.members, self._metrics, self.record)
        self.evicted = LedgerMembers(self._ledger).evicted()
        self.roster.admit(self.members)
        self.roster.keep(frozenset(self.members))
        self.count()

    def count(self) -> None:
        """Set the metrics of how many devices there are, and how many must answer."""
        self._metrics.invited(len(self.members), self.quorum())

    def quorum(self) -> int:
        """Return how many answers a round needs."""
        return self._settings.cohort.least(len(self.members))

    def deadlines(self) -> RoundDeadlines:
        """Return how long a round waits, and for whom."""
        cohort = self._settings.cohort
        return RoundDeadlines(
            self.quorum(),
            cohort.deadline_seconds,
            cohort.give_up_seconds,
            cohort.share,
            cohort.grace_seconds,
            None if cohort.buffer is None else self.quorum(),
            cohort.max_staleness,
            self._elapsed,
        )

    def _elapsed(self) -> float:
        """Return for how many seconds the ledger has had the open round."""
        since = self._ledger.committed()
        return 0.0 if since is None else max(0.0, time.time() - since)  # a clock may be set back

    def participation(self) -> ParticipationPolicy | None:
        """Return who is asked in which round; None for everybody in all of them."""
        ratio = self._settings.cohort.join_ratio
        if ratio == 1:
            return None
        return Sampling(self._drawn_from, ratio, self.contract.seed, LedgerMembers(self._ledger))

    def _drawn_from(self) -> Collection[str]:
        """Return who may be asked: of an open run those who are there."""
        return self.roster.online() if self.members.are_open else frozenset(self.members)

    def tidy(self, algorithm: Loaded) -> None:
        """Finish what a crash has left of taking devices out."""
        if self._ledger.departed():
            self._stored(algorithm).tidy()
            leaving.sweep(self._settings.broker, self.contract.task)

    def let_go(self, algorithm: Loaded) -> None:
        """Let those go whom the task's settings name, and who are still in the run."""
        forgotten = self._to_forget()
        named = frozenset(self._settings.cohort.evicted)
        evicted = named - forgotten - self._ledger.departed()
        evicted -= LedgerMembers(self._ledger).evicted()
        if forgotten or evicted:
            self.leave(algorithm, forgotten, evicted)

    def forget_named(
        self, algorithm: Callable[[], Loaded], connect: Callable[[], MqttConnection]
    ) -> None:
        """Take out whom the settings name, of a run that is over; nothing where nobody is left.

        Args:
            algorithm: makes the run's.
            connect: dials the broker, by the task's own name.

        Raises:
            EdgeloopError: if that cannot be done now; they are out, or they are not.
        """
        if not (named := self._to_forget()):
            return
        loaded = algorithm()
        alone.ensure_only_aggregator(self._settings.broker, self.contract)
        with connect() as connection:
            self._take_out(loaded, named)
            self._stored(loaded).tell(connection)

    def _to_forget(self) -> frozenset[str]:
        return frozenset(self._settings.cohort.forgotten) - self._ledger.departed()

    def leave(
        self, algorithm: Loaded, devices: Collection[str], evicted: Collection[str] = ()
    ) -> None:
        """Let devices go.

        Args:
            algorithm: of the run.
            devices: whom to take out, with all that they have given.
            evicted: whom to send away; what they have given stays.
        """
        self._take_out(algorithm, devices)
        if evicted:
            LedgerMembers(self._ledger).evict(evicted)
            for device in sorted(evicted):
                log.warning("%s is evicted from the run", device, extra={"device": device})
            self.invite()
        leaving.sweep(self._settings.broker, self.contract.task)

    def _take_out(self, algorithm: Loaded, devices: Collection[str]) -> None:
        if devices:
            self._invite(self._stored(algorithm).take_out(devices).contract)

    def _stored(self, algorithm: Loaded) -> StoredRun:
        return StoredRun(self._settings, self.contract, algorithm, self._ledger)

    def tell_again(self, algorithm: Loaded, connect: Callable[[], MqttConnection]) -> None:
        """Have the broker keep that the run is over, if it has lost it; some were away.

        Args:
            algorithm: of the run.
            connect: dials the broker, by the task's own name.
        """
        try:
            alone.ensure_only_aggregator(self._settings.broker, self.contract)
            with connect() as connection:
                self._stored(algorithm).tell_again(connection)
        except EdgeloopError as error:
            log.warning("cannot tell devices that the run is over: %s", error)

    def heed(
        self, algorithm: Loaded, connect: Callable[[], MqttConnection], seconds: float | None
    ) -> None:
        """Take out who asks for it now that the run is over, until nobody has for so long.

        Args:
            algorithm: of the run.
            connect: dials the broker, by the task's own name.
            seconds: None for good.
        """
        if algorithm.remove_clients is None:
            return
        try:
            alone.ensure_only_aggregator(self._settings.broker, self.contract)
            with connect() as connection:
                asking = self._ledger.departed()  # what a crash has left of it is done now
                while asking := asking or leaving.heard(connection, self.contract, seconds):
                    self._take_out(algorithm, asking)
                    self._stored(algorithm).tell(connection)
                    asking = frozenset()
        except EdgeloopError as error:
            log.warning("cannot hear devices that ask to be taken out: %s", error)
