"""What became of an upload, as the aggregator tells its device.

A receipt says what the ledger holds: a device repeats its answer until it has one. A receipt with
the verdict `INCOMPLETE` is none yet: it asks for chunks that have not arrived.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from edgeloop.protocol import wire
from edgeloop.protocol.chunks import MAX_CHUNKS, Place, Unfinished
from edgeloop.protocol.gathering import Verdict
from edgeloop.protocol.growing import Growing
from edgeloop.protocol.task import Name

LONGEST_REASON = 300  # characters
MOST_MISSING = 256
"""Chunks that one message asks for; further ones are asked for when these have come."""

INCOMPLETE = "incomplete"
"""In a verdict's place: chunks are missing."""

_TAKEN = {verdict.name.lower() for verdict in (Verdict.ACCEPTED, Verdict.DUPLICATE)}


class Receipt(Growing):
    """A receipt.

    Attributes:
        run: the run that the aggregator is in.
        round: the round that the upload answers; the open one, where that cannot be read.
        digest: SHA-256 of the upload's bytes, hexadecimal.
        verdict: the name of a `Verdict`, in small letters, or `INCOMPLETE`; a newer aggregator may
            have others.
        reason: why it was not taken, for a person; may be empty. With `INCOMPLETE`, and nothing
            that is missing: the device sends too much, and what it sends now is not read.
        missing: indices of the chunks that are asked for.
        count: how many chunks the upload has; 0 where none are asked for.
    """

    run: Name
    round: Annotated[int, Field(ge=0, le=wire.MAX_FRAME)]
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    verdict: Annotated[str, Field(min_length=1, max_length=32)]
    reason: Annotated[str, Field(max_length=LONGEST_REASON)] = ""
    missing: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=MAX_CHUNKS)], ...], Field(max_length=MOST_MISSING)
    ] = ()
    count: Annotated[int, Field(ge=0, le=MAX_CHUNKS)] = 0

    @property
    def is_taken(self) -> bool:
        """Return whether the ledger holds the upload."""
        return self.verdict in _TAKEN

    def text(self) -> str:
        """Return the receipt as JSON."""
        return self.to_brief_json()


def receipt(run: str, round_number: int, digest: str, verdict: Verdict, reason: str) -> Receipt:
    """Return the receipt for an upload; a long reason is cut.

    Args:
        run: of a contract.
        round_number: at least 0.
        digest: of `wire.digest`.
        verdict: on the upload.
        reason: for a person; may be empty.
    """
    return Receipt.model_construct(  # of what is known to be right: there is one for each upload
        run=run,
        round=min(round_number, wire.MAX_FRAME),
        digest=digest,
        verdict=verdict.name.lower(),
        reason=reason[:LONGEST_REASON].encode(errors="replace").decode(),
    )


def asking(run: str, round_number: int, unfinished: Unfinished) -> Receipt:
    """Return what asks for the chunks of an upload that are missing."""
    return Receipt(
        run=run,
        round=round_number,
        digest=unfinished.digest,
        verdict=INCOMPLETE,
        missing=unfinished.missing[:MOST_MISSING],
        count=unfinished.count,
    )


def asking_again(run: str, round_number: int, place: Place) -> Receipt:
    """Return what asks for a chunk that came, and whose signer's certificate is not known."""
    return Receipt(
        run=run,
        round=round_number,
        digest=place.digest,
        verdict=INCOMPLETE,
        missing=(place.index,),
        count=place.count,
    )


def slow_down(run: str, round_number: int, digest: str, limits: str) -> Receipt:
    """Return what tells a device that more than a minute's worth comes of it.

    It asks for no chunk; what is missing is asked for later.
    """
    return Receipt(
        run=run,
        round=round_number,
        digest=digest,
        verdict=INCOMPLETE,
        reason=f"more than {limits} come of this device: they are not read",
    )


REASONS: Mapping[Verdict, str] = {
    Verdict.CONFLICT: "the round holds another answer of this device; the first one counts",
    Verdict.LATE: "its round was closed without it",
    Verdict.WRONG_ROUND: "its round is not open, or its run is not this one",
    Verdict.UNINVITED: "this device is not in the run",
    Verdict.NOT_ASKED: "the round asks other devices",
}
"""Why an upload was not taken, where that is all there is to say."""
