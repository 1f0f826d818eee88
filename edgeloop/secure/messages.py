"""What devices and the server say in the four steps; frames of `protocol.wire` can hold it.

Shape suffixes: B bytes of a key, N devices of the round in the order of their names, S bytes of
what is sealed or of a share, V numbers of a vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt

from edgeloop.protocol.wire import MAX_FRAME, Between

Bytes = npt.NDArray[np.uint8]
Size = Annotated[int, Between(1, MAX_FRAME)]
"""Of a vector, or of a round; a frame holds it."""


@dataclass(frozen=True, eq=False)
class PublicKeys:
    """Step 1, up: what a device is known by in a round.

    Attributes:
        mask_B: its key for masks.
        channel_B: its key for what only one device shall open.
        seed_B: the commitment to its own seed.
        size: V, the numbers of its vector.
    """

    mask_B: Bytes
    channel_B: Bytes
    seed_B: Bytes
    size: Size


@dataclass(frozen=True, eq=False)
class AllKeys:
    """Step 1, down: what all devices of the round are known by.

    Attributes:
        names_T: theirs, in order, UTF-8, a line each.
        mask_NB, channel_NB, seed_NB: as of `PublicKeys`.
        size: V, the same for all.
        threshold: so many of them must be there to the end.
    """

    names_T: Bytes
    mask_NB: Bytes
    channel_NB: Bytes
    seed_NB: Bytes
    size: Size
    threshold: Size

    @classmethod
    def of(cls, keys: Mapping[str, PublicKeys], threshold: int) -> Self:
        """Pack keys by device, in the order of their names.

        Args:
            keys: of one size.
            threshold: of the round.
        """
        names = sorted(keys)
        each = [keys[name] for name in names]
        return cls(
            as_array("".join(f"{name}\n" for name in names).encode()),
            np.stack([key.mask_B for key in each]),
            np.stack([key.channel_B for key in each]),
            np.stack([key.seed_B for key in each]),
            each[0].size,
            threshold,
        )

    def by_device(self) -> dict[str, PublicKeys]:
        """Unpack them.

        Raises:
            ValueError: if there are more or fewer names than keys, or they are no text.
        """
        names = self.names_T.tobytes().decode().splitlines()
        rows = zip(names, self.mask_NB, self.channel_NB, self.seed_NB, strict=True)
        return {n: PublicKeys(mask, channel, seed, self.size) for n, mask, channel, seed in rows}


@dataclass(frozen=True, eq=False)
class SealedShares:
    """Step 2, up: a device's shares for all; and down: all devices' shares for one.

    Attributes:
        sealed_NS: a row for each device; zeros in its own, and of those who sent none.
        known_N: whose row there is.
    """

    sealed_NS: Bytes
    known_N: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Masked:
    """Step 3, up: a device's numbers, masked.

    Attributes:
        values_V: modulo 2^64; as signed numbers, for the wire has no others.
    """

    values_V: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Survivors:
    """Step 3, down: whose numbers the server has.

    Attributes:
        there_N: which devices'.
    """

    there_N: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Revealed:
    """Step 4, up: a device's shares of what removes the masks.

    Attributes:
        shares_NS: for each device of step 2: of its seed if its numbers are in the sum, else of its
            key for masks. Zeros where there is none to tell.
        known_N: where there is one.
    """

    shares_NS: Bytes
    known_N: npt.NDArray[np.bool_]


def as_array(content: bytes) -> Bytes:
    """Return bytes as an array."""
    return np.frombuffer(content, np.uint8)
