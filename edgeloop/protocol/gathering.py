"""One round's uploads: who has answered, and whether to continue waiting. No clock, no I/O."""

import enum
from dataclasses import dataclass, field
from typing import Generic, TypeVar

U = TypeVar("U")


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
    IMPLAUSIBLE = (
        "implausible"  # taken, and set aside: with it the round has no result to continue with
    )
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
    """

    round_number: int
    invited: frozenset[str]
    quorum: int
    deadline: float
    give_up: float
    uploads: dict[str, U] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

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
        return Verdict.ACCEPTED

    def misplaced(self, round_number: int) -> Verdict | None:
        """Return the verdict on an upload of another round; None for one of this round."""
        if round_number == self.round_number:
            return None
        return Verdict.LATE if round_number < self.round_number else Verdict.WRONG_ROUND

    def missing(self) -> frozenset[str]:
        """Return who has not answered."""
        return self.invited - self.uploads.keys()

    def is_over(self, now: float) -> bool:
        """Return whether all have answered, or the time for those who have not is up."""
        if len(self.uploads) == len(self.invited) or now >= self.give_up:
            return True
        return now >= self.deadline and len(self.uploads) >= self.quorum

    def until(self, now: float) -> float:
        """Return how many seconds to wait for a message before asking `is_over` again."""
        waits_for_quorum = now >= self.deadline
        return max(0.0, (self.give_up if waits_for_quorum else self.deadline) - now)

    def close(self) -> dict[str, U]:
        """Return the uploads by client, in the order of their names.

        Raises:
            TooFewUploadsError: if there are fewer than the quorum.
        """
        if len(self.uploads) < self.quorum:
            raise TooFewUploadsError(
                f"round {self.round_number}: {len(self.uploads)} uploads, {self.quorum} needed"
            )
        return dict(sorted(self.uploads.items()))
