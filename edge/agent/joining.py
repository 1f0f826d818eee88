"""How a device comes by its place in a run: it takes a contract, or says why not."""

import logging
from functools import partial

from pydantic import ValidationError

from edge.agent.delivery import Delivery
from edge.agent.fetching import BroadcastSubscription
from edge.agent.patience import until_written
from edge.agent.presence import PresenceTeller
from edge.agent.round_work import TASK_FAILURES, describe_failure
from edge.agent.standing import Standing
from edge.agent.task_session import DeviceContext, TaskSession, open_session
from edgeloop.bases import sending
from edgeloop.bases.sending import SLOT as BASE
from edgeloop.bases.sending import base_identity
from edgeloop.errors import (
    BaseError,
    ConfigError,
    DataError,
    EdgeloopError,
    MisfitError,
    ModelError,
    NoSamplesError,
)
from edgeloop.protocol import wire
from edgeloop.protocol.presence import State
from edgeloop.protocol.task import Contract
from edgeloop.protocol.wire import DigestError, TruncatedError, WireError
from edgeloop.runtime import wording
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

LOOK_SECONDS = 10.0
"""Between two looks for samples that a device has none of."""


class Joining:
    """Takes contracts for one device.

    Args:
        context: its settings and data.
        standing: where it stands; a contract that fits gives it a session.
        presence: says what it is doing.
        subscription: fetches the base of a contract that names one.
        delivery: the last answer, which more rounds make none.

    Attributes:
        waiting_contract: whose base is on its way.
    """

    def __init__(
        self,
        context: DeviceContext,
        standing: Standing,
        presence: PresenceTeller,
        subscription: BroadcastSubscription,
        delivery: Delivery,
    ) -> None:
        self.waiting_contract: Contract | None = None
        self._context, self._standing = context, standing
        self._presence, self._subscription, self._delivery = presence, subscription, delivery
        self._refused_contract: bytes | None = None  # the last one that does not fit
        self._starved: bytes | None = None  # the one that waits for samples
        self._looks = Timer(LOOK_SECONDS)

    def handle_contract(self, text: bytes) -> None:
        """Take a contract, if it is one that this device can keep."""
        standing, contract = self._standing, self._parsed(text)
        if contract is None:
            return
        self._starved = None
        if standing.session is not None and not self._begins(text, contract, standing.session):
            return
        if text == self._refused_contract:
            return  # which is in the log
        try:
            session = self._open_session(contract)
        except NoSamplesError as error:
            self._wait_for_samples(text, contract, error)
            return
        except (BaseError, ConfigError, MisfitError, ModelError) as error:
            self._refuse_contract(text, contract, error)
            return
        except EdgeloopError:
            raise  # of this device's own making
        except TASK_FAILURES as error:
            self._refuse_contract(text, contract, describe_failure(error))
            return
        if session is not None:
            self._resume(session)

    def _begins(self, text: bytes, contract: Contract, session: TaskSession) -> bool:
        """Return whether a contract begins something: another run, or more rounds of this one."""
        standing = self._standing
        if session.contract.run != contract.run:
            return True
        if not contract.admits(self._context.settings.name):
            standing.session = standing.opening = None
            self._refuse_contract(text, contract, "it was taken out of it")
            return False
        if contract.rounds <= session.contract.rounds:
            return False
        log.info("the run has %d rounds now; continuing", contract.rounds)
        standing.session, standing.concluded = None, ("", "")
        self._delivery.forget()
        return True

    def _parsed(self, text: bytes) -> Contract | None:
        standing = self._standing
        try:
            contract = Contract.model_validate_json(text)
        except ValidationError as error:
            if standing.limiter.allowed(""):
                log.warning("ignored an invalid contract: %s", first_problem(error))
            return None
        standing.ignored.add(contract.ignored, "the contract")
        return contract

    def _wait_for_samples(self, text: bytes, contract: Contract, error: Exception) -> None:
        self._starved = text
        self._presence.say(State.WAITING, contract.run, reason=str(error))
        log.warning("run %s of %s waits for samples: %s", contract.run, contract.task, error)

    def left(self) -> float:
        """Return the seconds until `look_again` should be asked."""
        return float("inf") if self._starved is None else self._looks.left()

    def look_again(self) -> None:
        """Take the contract that waits for samples, if there are other ones by now."""
        if self._starved is None or not self._looks.due():
            return
        text = self._starved
        try:
            if self._context.data.anew():
                self.handle_contract(text)
        except DataError as error:
            log.warning("the data cannot be used yet: %s", error)

    def _open_session(self, contract: Contract) -> TaskSession | None:
        """Return the device's place in a contract's run; None while its base is on its way."""
        self.waiting_contract = None
        if self._context.base_cache.is_missing(contract):
            self.waiting_contract = contract
            self._presence.say(State.FETCHING, contract.run)
            self._subscription.start(BASE, wire.MAX_FRAME)
            return None
        return open_session(self._context, contract)

    def _resume(self, session: TaskSession) -> None:
        """Take a place, and continue from what is remembered of its run."""
        standing, run = self._standing, session.contract.run
        standing.session = session
        state = standing.store.load(run)
        standing.state = None if state is None else state.continued(session.contract.rounds)
        if standing.state is not None:
            session.client.restore(standing.state.weights)
            number = standing.state.round
            log.info("resumed after round %d", number, extra={"round": number})
        self._presence.say(State.WAITING, run)
        self._restore_broadcast(session)

    def handle_base_chunk(self, chunk: bytes) -> None:
        """Take a chunk of the base that a contract waits for; sit down once it is whole."""
        payload = self._subscription.offer(chunk)
        if payload is None or self.waiting_contract is None:
            return
        contract, graph = self.waiting_contract, sending.decode(self.waiting_contract, payload)
        until_written(partial(self._context.base_cache.keep, graph), self._presence.obstacle)
        log.info("fetched base %s..., %d bytes", base_identity(contract), len(graph))
        self._subscription.stop()
        self.waiting_contract = None
        self.handle_contract(contract.text().encode())

    def _refuse_contract(self, text: bytes, contract: Contract, error: Exception | str) -> None:
        """Say why this device takes no part; the next contract may be another."""
        self._refused_contract = text
        self._presence.say(State.REFUSED, contract.run, reason=str(error))
        sentence = "cannot take part in run %s of %s: %s; waiting for another contract"
        log.error(sentence, contract.run, contract.task, error)

    def _restore_broadcast(self, session: TaskSession) -> None:
        """Take the broadcast that was kept before a restart, if it is this run's."""
        payload = self._standing.store.kept_broadcast()
        try:
            kept = None if payload is None else self._standing.decode_broadcast(session, payload)
        except (DigestError, TruncatedError) as error:
            log.warning("the kept broadcast is damaged (%s): fetching it again", error)
            return
        except WireError:
            return  # another algorithm's
        self._standing.broadcast = kept


def first_problem(error: ValidationError) -> str:
    """Return the first problem of an invalid message, its field first."""
    place, problem, _ = wording.first_finding(error.errors())
    where = ".".join(map(str, place))
    return f"field {where!r}: {problem}" if where else problem
