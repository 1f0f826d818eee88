"""Ways to reach the clients: in this process, in worker processes, or over MQTT."""

from collections.abc import Collection, Mapping
from typing import Protocol, TypeVar

from edgeloop.answers import Answer, Report

U = TypeVar("U")
B_contra = TypeVar("B_contra", contravariant=True)


class Cohort(Protocol[B_contra, U]):
    """The clients of a run, seen from the server."""

    def ask(
        self, round_number: int, broadcast: B_contra, participants: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client, in the order of the clients' names.

        Args:
            round_number: of the round.
            broadcast: what it opens with.
            participants: who trains; the others evaluate only. None for everybody.

        Raises:
            TooFewUploadsError: if it was given up with fewer answers than the quorum.
        """
        ...

    def finish(self, round_number: int, broadcast: B_contra) -> Mapping[str, Report]:
        """Have every client evaluate the last broadcast, and return the reports that came."""
        ...
