"""One round's uploads: who has answered, and whether to continue waiting. No clock, no I/O."""

import enum
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

U = TypeVar("U")

_TOLERANCE = 1e-9
"""So that 80 % of 5 are 4, though 0.8 x 5 may be a little more."""


class TooFewUploadsError(RuntimeError):
    """The round was given up with fewer uploads than the quorum."""


class Verdict(enum.Enum):
    """What became of an upload."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the same bytes again
    CONFLICT = "conflict"  # other bytes than this client's first upload; the first one counts
    LATE = "late"  # of an earlier round, which was closed without it
    WRONG_ROUND = "wrong round"  # of a later one, or of another run of the task
    UNINVITED = "uninvited"
    NOT_ASKED = "not asked"  # in this round, which asks a part of the devices
    IMPLAUSIBLE = (
        "implausible"  # taken, and set aside: with it the round has no result to continue with
    )
    UNVERIFIED = "unverified"  # without a signature by its device that holds: not read
    TOO_MANY = "too many"  # more messages than the device may send: not read
    MALFORMED = "malformed"  # no message of the expected kind, or one that the algorithm refuses


@dataclass
class Gathering(Generic[U]):
    """The uploads of one round.

    Attributes:
        round_number: the round that is asked for.
        invited: who may answer.
        quorum: how many uploads make the round count.
        deadline: when to stop waiting for more than the quorum, on the caller's clock.
        give_up: when to stop waiting even for the quorum, on the same clock.
        share: of those who are there or have answered, whose answers make the round count; then
            there is no `quorum`. None for a number.
        grace: seconds for others to come, once all who are there have answered; then the round is
            over. None waits for the invited who are not there, too.
        usual: how many uploads there must be before the grace counts, where the quorum asks for
            fewer.
        stalest: how many rounds before this one an answer may be trained in, to count in it.
        may_grow: whether more may be invited while it is open.
        there: tells who is there.
        kinds: of messages that an answer holds.
    """

    round_number: int
    invited: frozenset[str]
    quorum: int
    deadline: float
    give_up: float
    share: float | None = None
    grace: float | None = None
    usual: int = 0
    stalest: int = 0
    may_grow: bool = False
    there: Callable[[], Iterable[str]] = frozenset
    kinds: tuple[type, ...] = ()
    uploads: dict[str, U] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    _bases: dict[str, int] = field(default_factory=dict)  # rounds that the uploads answer
    _complete: float | None = None  # since when all who are there have answered

    def invite(self, client: str) -> None:
        """Have one more answer, who was not there when the round opened."""
        self.invited |= {client}

    def offer(self, client: str, round_number: int, digest: str, upload: U) -> Verdict:
        """Take an upload, unless it has no place in this round.

        Args:
            client: who sent it.
            round_number: the round that it answers.
            digest: what makes two deliveries of one upload the same.
            upload: the upload.
        """
        if client not in self.invited:
            return Verdict.UNINVITED
        if misplaced := self.misplaced(round_number):
            return misplaced
        if client in self.uploads:
            same = self.digests[client] == digest
            return Verdict.DUPLICATE if same else Verdict.CONFLICT
        self.uploads[client] = upload
        self.digests[client] = digest
        self._bases[client] = round_number
        return Verdict.ACCEPTED

    def misplaced(self, round_number: int) -> Verdict | None:
        """Return the verdict on an upload of another round; None for one that counts in this."""
        if round_number > self.round_number:
            return Verdict.WRONG_ROUND
        return Verdict.LATE if round_number < self.round_number - self.stalest else None

    def is_ahead(self, client: str, round_number: int) -> bool:
        """Return whether an upload is a client's next one: this round counts an earlier one."""
        return round_number > self._bases.get(client, round_number)

    def missing(self) -> frozenset[str]:
        """Return who has not answered."""
        return self.invited - self.uploads.keys()

    def needed(self) -> int:
        """Return how many uploads make the round count, as things are."""
        if self.share is None:
            return self.quorum
        around = self.uploads.keys() | (self.invited & frozenset(self.there()))
        return max(1, math.ceil(self.share * len(around) - _TOLERANCE))

    def is_over(self, now: float) -> bool:
        """Return whether all have answered, or the time for those who have not is up."""
        if now >= self.give_up or (not self.may_grow and len(self.uploads) == len(self.invited)):
            return True
        self._complete = self._since_complete(now)
        if self._complete is not None and now >= self._complete + (self.grace or 0.0):
            return True
        return now >= self.deadline and len(self.uploads) >= self.needed()

    def _since_complete(self, now: float) -> float | None:
        """Return since when all who are there have answered, and are enough; None if they are not.

        Where it is asked anew, now.
        """
        if self.grace is None or len(self.uploads) < self.usual:
            return None
        waits = any(each in self.invited and each not in self.uploads for each in self.there())
        if waits or len(self.uploads) < max(self.usual, self.needed()):
            return None
        return now if self._complete is None else self._complete

    def until(self, now: float) -> float:
        """Return how many seconds to wait for a message before asking `is_over` again."""
        end = self.deadline if now < self.deadline else self.give_up
        if self._complete is not None:
            end = min(end, self._complete + (self.grace or 0.0))
        return max(0.0, end - now)

    def close(self) -> dict[str, U]:
        """Return the uploads by client, in the order of their names.

        Raises:
            TooFewUploadsError: if there are fewer than the quorum.
        """
        if len(self.uploads) < (needed := self.needed()):
            raise TooFewUploadsError(
                f"round {self.round_number}: {len(self.uploads)} uploads, {needed} needed"
            )
        return dict(sorted(self.uploads.items()))
