"""A client of a run, whatever it computes with: what cohorts and agents ask of it.

`edgeloop.client.Client` is the client that trains a network, with torch; another one need not.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from edgeloop.answers import Answer, Release, Report

U = TypeVar("U")
B_contra = TypeVar("B_contra", contravariant=True)


class ClientProtocol(Protocol[U, B_contra]):
    """One client: keeps what it has learned between rounds."""

    def release(self, round_key: str | int, broadcast: B_contra) -> Release | None:
        """Return what training now would let out; None without privacy.

        Args:
            round_key: the round's number.
            broadcast: of the round; not taken over yet.
        """
        ...

    def answer(self, round_number: int, broadcast: B_contra, trains: bool = True) -> Answer[U]:
        """Evaluate with the broadcast, then train one round, unless it sits this one out."""
        ...

    def finish(self, broadcast: B_contra) -> Report:
        """Evaluate with the last broadcast; train no more."""
        ...

    def hits(self) -> bytes:
        """Return which test samples the last evaluation has right, in their order, eight a byte.

        The first is the highest bit, as `numpy.packbits` packs them.
        """
        ...

    def weights(self) -> Mapping[str, npt.NDArray[Any]]:
        """Return a copy of all that it has learned, by name; what `restore` takes over."""
        ...

    def restore(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `weights` returned.

        Raises:
            RunError: if they are another model's.
        """
        ...
