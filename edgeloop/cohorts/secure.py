"""A cohort across MQTT whose devices' uploads nobody sees: the aggregator learns their sum.

A round is opened, trained and answered as any other; only that an answer has keys in the place of
the upload. Three steps more then lead to the sum (`edgeloop.secure`). What is said in them goes to
each device on its own topic, that of its receipts.
"""

import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from edgeloop.algorithm import Algorithm
from edgeloop.answers import Answer, Report
from edgeloop.cohorts.deadlines import STEP_SECONDS
from edgeloop.cohorts.mqtt import MqttCohort
from edgeloop.cohorts.secure_judging import SecureJudge
from edgeloop.cohorts.stepped_log import LAST_STEP, Decision, StepLog, SteppedLog
from edgeloop.cohorts.uploads import UploadLog
from edgeloop.protocol import wire
from edgeloop.protocol.gathering import Gathering
from edgeloop.protocol.task import MOST_IN_A_SUM, SERVER, receipt_topic
from edgeloop.protocol.wire import Envelope, Frame
from edgeloop.secure.agreement import SecureError, SpoiledError
from edgeloop.secure.exchange import ServerRound, sizes_of
from edgeloop.secure.messages import AllKeys, PublicKeys

log = logging.getLogger(__name__)

_TOLERANCE = 1e-9

U = TypeVar("U")
B = TypeVar("B")


@dataclass(frozen=True)
class SecureTerms:
    """How a round comes to its sum.

    Attributes:
        steps: where answers to steps are safe.
        share: of the devices that begin, which must be there to the end; 0 for more than half.
        seconds: that a step waits.
    """

    steps: StepLog
    share: float = 0.0
    seconds: float = STEP_SECONDS

    def threshold(self, devices: int, least: int) -> int:
        """Return how many of so many devices must be there to the end.

        Args:
            devices: that begin.
            least: of the contract.
        """
        return max(least, devices // 2 + 1, math.ceil(self.share * devices - _TOLERANCE))


def _takes_any(upload: Any) -> None:
    """Find nothing wrong with keys: what they are for cannot be looked at."""


class SecureCohort(MqttCohort[B, U]):
    """The server's end of a task with secure aggregation.

    All answers that count in a round have the same upload, which is the one of their sum: see
    `secure.server.of_sum`.

    Args:
        connection, contract, algorithm, deadlines, uploads: as of `MqttCohort`.
        terms: how a round comes to its sum.
        further: as of `MqttCohort`.
    """

    JUDGE = SecureJudge
    _judge: SecureJudge

    def __init__(
        self,
        connection: Any,
        contract: Any,
        algorithm: Algorithm[Any, U, B],
        deadlines: Any,
        uploads: UploadLog,
        *args: Any,
        terms: SecureTerms,
        **further: Any,
    ) -> None:
        self._log = SteppedLog(uploads, terms.steps)
        self._terms, self._summing = terms, algorithm.summing
        self._spoilers: set[str] = set()
        self._said: Mapping[str, bytes] = {}
        heard: Algorithm[Any, Any, B] = algorithm
        spoken = replace(
            heard,
            upload=PublicKeys,
            sizes={**algorithm.sizes, **sizes_of(PublicKeys)},
            check=_takes_any,
            remove_clients=None,
        )
        super().__init__(connection, contract, spoken, deadlines, self._log, *args, **further)
        self._judge.on_behind = self._say

    def ask(
        self, round_number: int, broadcast: B, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round, and return its answers: all in the sum have the upload that it stands for.

        None has one where no sum was reached; the log says why.

        Raises:
            LeftError: as `MqttCohort.ask`.
            TooFewUploadsError: as `MqttCohort.ask`.
        """
        self._end_round(round_number - 1)
        said = self._log.keys_said(round_number)
        begun = None if said is None else wire.decode(said, AllKeys)[AllKeys].by_device()
        asked = participants if begun is None else begun.keys()
        answers = super().ask(round_number, broadcast, asked)
        counted, upload = self._sum(round_number, answers)
        self._log.step = 1
        return {
            name: replace(each, upload=upload if name in counted else None)
            for name, each in answers.items()
        }

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have the devices evaluate the last broadcast; see `MqttCohort.finish`."""
        self._end_round(round_number - 1)
        return super().finish(round_number, broadcast)

    def _end_round(self, number: int) -> None:
        """Forget a closed round's steps; whose numbers are in no sum has given no upload to it."""
        self._log.step = 1
        said, total = self._log.keys_said(number), self._log.decided(number, LAST_STEP)
        if said is not None:
            begun = wire.decode(said, AllKeys)[AllKeys].by_device()
            for name in sorted(begun.keys() - (frozenset() if total is None else total.names)):
                self._log.drop(number, name)
                self._members.uncounted(name, number)
        self._log.forget_round(number)

    def _sum(
        self, number: int, answers: Mapping[str, Answer[Any]]
    ) -> tuple[Collection[str], U | None]:
        """Return whose numbers are in a round's sum, and the upload that it stands for."""
        keys = {name: each.upload for name, each in answers.items() if each.upload is not None}
        if not keys:
            return (), None
        try:
            server = self._begun(number, keys)
            while server.step <= LAST_STEP:
                self._close_step(number, server)
            for name in sorted(server.liars):
                self._name_liar(number, name)
            assert self._summing is not None  # noqa: S101 - or the task is refused
            return server.names, self._summing.decode(server.total_V)
        except (SecureError, ValueError) as error:
            self._fail(number, error)
            return (), None

    def _fail(self, number: int, error: Exception) -> None:
        """Close a round without a sum."""
        self._log.decide(number, LAST_STEP, Decision(frozenset()))
        if isinstance(error, SpoiledError):
            self._spoilers.add(error.device)
            why = f"{error}; later rounds begin without it"
            self.refuse(number, error.device, why)
            log.warning("round %d: %s", number, why, extra={"device": error.device})
        text = "round %d changes nothing: there is no sum: %s"
        log.error(text, number, error, extra={"round": number})

    def _begun(self, number: int, keys: Mapping[str, PublicKeys]) -> ServerRound:
        """Return the server's side of a round whose devices are decided: now, or before a restart.

        Raises:
            SecureError: if they are too few, or too many.
        """
        place = Envelope(self._contract.task, self._contract.run, number, SERVER)
        if (said := self._log.keys_said(number)) is not None:
            told = wire.decode(said, AllKeys)[AllKeys]
            return ServerRound(place, told.by_device(), told.threshold)
        fit = self._fitting(number, keys)
        least = self._contract.secure
        if not least <= len(fit) <= MOST_IN_A_SUM:
            raise SecureError(f"{len(fit)} devices begin, and {least} to {MOST_IN_A_SUM} can")
        threshold = self._terms.threshold(len(fit), least)
        said = wire.encode(place, AllKeys.of(fit, threshold))
        self._log.decide(number, 1, Decision(frozenset(fit), said))
        return ServerRound(place, fit, threshold)

    def _fitting(self, number: int, keys: Mapping[str, PublicKeys]) -> dict[str, PublicKeys]:
        """Return the keys of whose vectors are as long as most, and who has spoilt no round."""
        size = Counter(each.size for _, each in sorted(keys.items())).most_common(1)[0][0]
        found = {}
        for name, each in sorted(keys.items()):
            if name in self._spoilers:
                self.refuse(number, name, "its shares have spoilt a round before")
            elif each.size != size:
                self.refuse(number, name, f"it has {each.size} numbers, and most have {size}")
            else:
                found[name] = each
        return found

    def _close_step(self, number: int, server: ServerRound) -> None:
        """Have devices answer a step, unless it was closed before a restart.

        Raises:
            SecureError: if too few have answered.
        """
        step = self._log.step = server.step
        decided = self._log.decided(number, step)
        if step == LAST_STEP and decided is not None and not decided.names:
            raise SecureError("it was closed without one before a restart")
        self._judge.sizes, self._said = server.sizes, server.said()
        invited = frozenset(self._said) if decided is None else decided.names
        if step == LAST_STEP and decided is not None:
            invited &= self._log.recall(number).keys()  # which were enough
        gathering = self._step_gathering(number, server, invited)
        self._stored.begin(gathering)
        for name in sorted(gathering.missing()):
            self._say(name)
        self._open = gathering, self._clock()
        self._listen(gathering)
        self._open = None
        self._gathered_digests = {**self._gathered_digests, **gathering.digests}
        server.close({name: each[server.kind] for name, each in gathering.uploads.items()})
        self._log.decide(number, step, Decision(server.counted))

    def _step_gathering(
        self, number: int, server: ServerRound, invited: frozenset[str]
    ) -> Gathering[Frame]:
        end = self._clock() + self._terms.seconds
        return Gathering(
            number,
            invited,
            server.threshold,
            end,
            end,
            grace=self._deadlines.grace,
            usual=server.threshold,
            there=self._roster.able,
            kinds=(server.kind,),
        )

    def _remind(self, gathering: Gathering[Frame]) -> None:
        if self._log.step == 1:
            super()._remind(gathering)
            return
        for name in sorted(gathering.missing()):
            self._say(name)

    def _say(self, device: str) -> None:
        """Say to a device what the step asks of it."""
        if (payload := self._said.get(device)) is not None:
            self._connection.send(receipt_topic(self._contract.task, device), payload)

    def _name_liar(self, number: int, name: str) -> None:
        why = "it has told false shares; the sum was made without them"
        self.refuse(number, name, why)
        log.warning("round %d: %s: %s", number, name, why, extra={"device": name})
