"""A device's part in a task: waits for the contract, answers each round once, ends with ONNX."""

import logging
import time
from pathlib import Path
from typing import Any

from edge.agent.answering import Answering
from edge.agent.fetching import BroadcastSubscription
from edge.agent.inbox import Inbox
from edge.agent.joining import Joining
from edge.agent.policy import Sleep
from edge.agent.presence import PresenceTeller
from edge.agent.reloading import LOOK_SECONDS, Reloading
from edge.agent.shipments import Shipments
from edge.agent.shipped_kinds import kinds_of
from edge.agent.standing import Standing
from edge.agent.store import AgentStore
from edge.agent.supervised import ALONE, Supervised
from edge.agent.task_session import DeviceContext, TaskSession, adds_rounds
from edgeloop.bases.sending import SLOT as BASE
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.presence import State
from edgeloop.protocol.task import Opening, broadcast_topic, contract_topic, round_topic
from edgeloop.protocol.wire import WireError
from edgeloop.runtime.pace import Timer
from edgeloop.runtime.tracing import SILENT, Tracer

log = logging.getLogger(__name__)

FIRST_STATUS_SECONDS, STATUS_SECONDS = 10.0, 60.0
"""Before the first line on what is waited for, and between two of them."""

FLUSH_SECONDS, REFUSED_SECONDS = 1.0, 30.0
"""Between two looks at whether the broker has the last answer, and before a refused one goes."""

RECEIPT_SECONDS = 5.0
"""For the last answer's receipt to come before the results are made, so that nobody waits for
that."""


def subscriptions(task: str) -> list[str]:
    """Return what a device's link subscribes to; broadcasts only while it fetches one."""
    return [contract_topic(task), round_topic(task)]


class Agent:
    """One device in one task.

    Args:
        context: its settings and data.
        connection: subscribed to the task's `subscriptions`.
        tracer: follows its work and its uploads, as parts of the rounds' traces.
        supervised: hears what it does, on its own machine.
        reloading: takes its settings again; None for never.
    """

    def __init__(
        self,
        context: DeviceContext,
        connection: MqttConnection,
        tracer: Tracer = SILENT,
        supervised: Supervised = ALONE,
        reloading: Reloading | None = None,
    ) -> None:
        mine = context.settings
        self._context, self._sleep = context, Sleep(lambda: context.settings.policy)
        self._connection, self._name, self._task = connection, mine.name, mine.task
        self._standing = standing = Standing(AgentStore(mine.folder, mine.name, mine.task))
        self._presence = presence = PresenceTeller(connection, supervised)
        self._supervised, self._reloading = supervised, reloading
        self._subscription = fetching = BroadcastSubscription(connection, mine.task)
        self._answering = Answering(context, standing, connection, presence, fetching, tracer)
        self._delivery, self._work = self._answering.delivery, self._answering.work
        self._joining = Joining(context, standing, presence, fetching, self._delivery)
        kinds = kinds_of(context, standing, self._answering.model, reloading)
        self._shipments = Shipments(context, connection, kinds)
        self._inbox = Inbox(connection, mine.task, mine.folder, presence)
        self._status_timer = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS)
        self._rested = ""  # the run that has not asked this device in some round

    def run(self) -> Path:
        """Take part until the last broadcast; return where the summary is.

        By then the task has said what became of this device's last answer, or, where the
        aggregator is of before there were receipts, the broker has it.
        """
        self._presence.resume()
        try:
            while (summary := self._step()) is None:
                pass
            self._deliver_last_answer()
        finally:
            self._presence.rest()
        return summary

    def _step(self) -> Path | None:
        """Take what comes next, or do what is due; return the summary's path at a run's end."""
        self._supervised.turn()
        if self._reloading is not None:
            self._reloading.look()
        parts = self._status_timer, self._sleep, self._delivery, self._subscription
        longest = float("inf") if self._reloading is None else LOOK_SECONDS
        longest = min(longest, self._joining.left(), self._shipments.left())
        event = self._inbox.receive(min(longest, *(each.left() for each in parts)))
        if event is None and self._status_timer.due():
            self._connection.resubscribe_refused()
            log.info("%s, waits for %s", self._connection.state, self._waiting_for())
        summary = self._take(event) if isinstance(event, Arrival) else None
        if summary is None:
            summary = self._look_again()
            self._answering.repeat()
            self._subscription.ask_missing()
            self._shipments.look()
        return summary

    def _look_again(self) -> Path | None:
        """Sit down, if a contract has waited for samples and there are some; see to its round."""
        if self._joining.left() > 0 and not self._sleep.due():
            return None
        self._joining.look_again()
        standing = self._standing
        if standing.session is None or standing.opening is None:
            return None
        return self._continue_round(standing.session, standing.opening)

    def _take(self, arrival: Arrival) -> Path | None:
        """Take a message, and acknowledge it; what ends the process is delivered again."""
        summary = None
        try:
            summary = self._handle(arrival)
        except WireError as error:
            self._standing.log_ignored(f"a message on {arrival.topic}", str(error))
        arrival.acknowledge()
        return summary

    def _waiting_for(self) -> str:
        """Say what comes next."""
        task, standing = self._task, self._standing
        if self._joining.waiting_contract is not None:
            return f"the base of task {task}: {self._may_read(broadcast_topic(task, BASE) + '/+')}"
        if standing.session is None:
            why = self._presence.refusal or self._may_read(contract_topic(task))
            return f"a contract of task {task}: {why}"
        if self._sleep.reason and standing.opening is not None:
            return f"its policy: {self._sleep.reason}"
        if standing.opening is not None:
            place = broadcast_topic(task, standing.opening.slot) + "/+"
            return f"the broadcast of round {standing.opening.round}: {self._may_read(place)}"
        if standing.concluded[0] == standing.session.contract.run:
            return f"the next run of task {task}"
        answered = "" if standing.state is None else f"; answered round {standing.state.round}"
        if self._delivery.is_open and self._delivery.expects:
            answered += ", of which it has no receipt"
        if self._presence.why:
            answered += f" ({self._presence.why})"
        return f"the next round of {standing.session.contract.rounds}{answered}"

    def _may_read(self, topic: str) -> str:
        """Say what to look at while nothing comes; a broker is silent on what one may not read."""
        place = f"nothing yet on {self._connection.full(topic)}"
        return f"{place}; does its aggregator run, and may this device read that topic?"

    def _deliver_last_answer(self) -> None:
        """Wait until the last answer has arrived, however long that takes."""
        standing = self._standing
        status, again = Timer(STATUS_SECONDS, FIRST_STATUS_SECONDS), Timer(REFUSED_SECONDS)
        while self._delivery.is_open:
            if self._delivery.expects:
                self._await_receipt(FLUSH_SECONDS)
                self._answering.repeat()
            elif self._delivery.flush(FLUSH_SECONDS):
                return
            if status.due():
                whom = "the task says that it has" if self._delivery.expects else "the broker has"
                log.warning("%s, waits until %s the last answer", self._connection.state, whom)
            if self._delivery.is_refused:
                time.sleep(FLUSH_SECONDS)  # flush tells of a refusal at once
                if again.due() and standing.session is not None and standing.state is not None:
                    self._answering.send_again(standing.session, standing.state)

    def _await_receipt(self, seconds: float) -> None:
        """Wait so long for the receipt of the last answer; leave what else comes for later."""
        end = time.monotonic() + seconds
        while self._delivery.is_open and self._delivery.expects:
            if (left := end - time.monotonic()) <= 0:
                return
            event = self._inbox.receive_new(left)
            if isinstance(event, Arrival) and not self._take_about_answer(event):
                self._inbox.postpone(event)

    def _take_about_answer(self, arrival: Arrival) -> bool:
        """Take what is about the last answer; tell whether that was all that it was about."""
        task, standing = self._task, self._standing
        if arrival.topic == self._delivery.receipts:
            self._answering.hear_receipt(arrival)
        elif arrival.topic == round_topic(task) and arrival.payload:
            self._answering.hear_opening(arrival.payload, arrival.notes)
            opening, standing.opening = standing.opening, None
            if opening is None or standing.session is None:
                return True
            if opening.run != standing.session.contract.run:
                return False
            if standing.state is not None and opening.round == standing.state.round:
                self._answering.answer_again(standing.session, opening)
        elif arrival.topic == contract_topic(task):
            if adds_rounds(arrival.payload, standing.session):
                self._delivery.forget()
            return False
        arrival.acknowledge()
        return True

    def _handle(self, arrival: Arrival) -> Path | None:
        task, standing = self._task, self._standing
        self._subscription.bytes += len(arrival.payload)
        if not arrival.payload:
            return None  # a retained message that was cleared
        if arrival.topic == contract_topic(task):
            self._joining.handle_contract(arrival.payload)
        elif arrival.topic == round_topic(task):
            self._answering.hear_opening(arrival.payload, arrival.notes)
        elif arrival.topic == self._delivery.receipts:
            self._answering.hear_receipt(arrival)
            return None
        elif self._shipments.takes(arrival.topic):
            self._shipments.handle(arrival)
            return None
        elif arrival.topic.startswith(f"{broadcast_topic(task, BASE)}/"):
            self._joining.handle_base_chunk(arrival.payload)
        elif standing.session is not None:
            self._answering.hear_chunk(standing.session, arrival.payload)
        if standing.session is None or standing.opening is None:
            return None
        return self._continue_round(standing.session, standing.opening)

    def _continue_round(self, session: TaskSession, opening: Opening) -> Path | None:
        """Answer the open round: from memory if it was answered before, else by working."""
        standing = self._standing
        if opening.run != session.contract.run:
            return None  # its contract is still on its way
        if self._passes_by(session, opening):
            standing.opening = None
            return None
        last = opening.round >= session.contract.rounds
        new = standing.state is None or opening.round > standing.state.round
        if (new or last) and not self._is_ready(session, opening):
            return None
        standing.opening = None
        self._subscription.stop()
        if not self._answering.answer(session, opening, new):
            return None
        if not last or standing.broadcast is None:
            return None
        if standing.concluded == (opening.run, opening.digest):
            self._presence.say(State.SLEEPING, opening.run)
            return None
        return self._conclude(session, opening, standing.broadcast[1])

    def _passes_by(self, session: TaskSession, opening: Opening) -> bool:
        """Tell whether a round is none of this device's."""
        last = opening.round >= session.contract.rounds
        if self._standing.state is None and last and self._rested != opening.run:
            log.info("the run ended without this device; waiting for the next one")
            self._presence.say(State.SLEEPING, opening.run)
            return True
        if opening.same_round(self._work.failed):
            return True
        if opening.asks(self._name, self._standing.notes):
            return False
        log.info("round %d: not asked", opening.round, extra={"round": opening.round})
        self._rested = opening.run
        self._subscription.stop()
        self._presence.say(State.WAITING, opening.run)
        return True

    def _is_ready(self, session: TaskSession, opening: Opening) -> bool:
        """Tell whether the device may work now, and has what for; see to it that it will have."""
        if self._sleep.look():
            self._subscription.stop()
            self._presence.say(State.SLEEPING, opening.run, reason=self._sleep.reason)
            return False
        if self._standing.has_broadcast(session, opening):
            return True
        self._presence.say(State.FETCHING, opening.run, opening.round)
        self._subscription.start(opening.slot, opening.size)
        return False

    def _conclude(self, session: TaskSession, opening: Opening, broadcast: Any) -> Path:
        """End a run with its results; return where their summary is."""
        self._standing.concluded = opening.run, opening.digest
        self._await_receipt(RECEIPT_SECONDS)
        self._presence.say(State.FINISHING, opening.run, opening.round)
        state = self._standing.state
        assert state is not None  # noqa: S101 - an answer has just been remembered
        summary, in_use = self._work.write_results(session, state, broadcast)
        self._presence.say(State.SLEEPING, opening.run, in_use=in_use)
        return summary
