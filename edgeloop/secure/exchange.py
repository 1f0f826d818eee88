"""A round of secure aggregation as frames, for any transport: who says what, in which order.

Neither side has a clock or a socket: whoever transports decides how long a step waits. A frame is
of one task, run and round; its kind says of which step it is.

Shape suffixes: V numbers of a vector, N devices of the round in the order of their names.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER
from edgeloop.protocol.wire import Envelope, OpenFrame
from edgeloop.secure import ring
from edgeloop.secure.agreement import Agreement, SecureError
from edgeloop.secure.collector import Collector
from edgeloop.secure.device import HELD_BYTES, SEALED_BYTES, STEPS, Secrets, SecureDevice
from edgeloop.secure.keys import SIZE
from edgeloop.secure.messages import (
    AllKeys,
    Masked,
    PublicKeys,
    Revealed,
    SealedShares,
    Survivors,
    as_array,
)
from edgeloop.secure.ring import Floats
from edgeloop.secure.shamir import SHARE_BYTES, Draw

UP: tuple[type[Any], ...] = (PublicKeys, SealedShares, Masked, Revealed)
"""What devices send, step by step."""

DOWN: tuple[type[Any], ...] = (AllKeys, SealedShares, Survivors)
"""What the server answers the first three with."""

Arrays = Mapping[str, npt.NDArray[Any]]
_BYTES = {
    "PublicKeys": SIZE,
    "AllKeys": SIZE,
    "SealedShares": SEALED_BYTES,
    "Revealed": SHARE_BYTES,
}


def sizes_of(kind: type[Any], devices: int | None = None, size: int = 0) -> dict[str, int]:
    """Return the sizes of a step's message, by dimension letter.

    Args:
        kind: of `UP` or `DOWN`.
        devices: N, once it is known.
        size: V.
    """
    fixed = _BYTES.get(kind.__name__, 0)
    return {"B": fixed, "S": fixed, "V": size, **({} if devices is None else {"N": devices})}


def step_of(kinds: Any, messages: tuple[type[Any], ...]) -> int | None:
    """Return the step, from 1, of a frame by its kinds; None if it is of none.

    Args:
        kinds: names, as a frame's header has them.
        messages: `UP` or `DOWN`.
    """
    first = kinds[0] if isinstance(kinds, list) and kinds else None
    names = [each.__name__ for each in messages]
    return names.index(first) + 1 if isinstance(first, str) and first in names else None


class ServerRound:
    """The server's side, from step 2 on.

    Args:
        place: task, run and round; the sender is the server.
        keys: of those who begin, of one size.
        threshold: so many must be there to the end.

    Attributes:
        step: that devices answer now, 2 to 4; 5 once the sum is there.
        total_V: the sum.

    Raises:
        SecureError: if too few begin for the threshold, or it is no majority.
    """

    def __init__(self, place: Envelope, keys: Mapping[str, PublicKeys], threshold: int) -> None:
        self._place = replace(place, sender=SERVER)
        size = next((each.size for each in keys.values()), 0)
        task, run, number = place.task, place.run, place.round
        self._collector = Collector(Agreement(task, run, number, threshold, size, len(keys)))
        self._told: Mapping[str, Any] = dict.fromkeys(
            self._collector.begin(keys), AllKeys.of(keys, threshold)
        )
        self.step = 2
        self.total_V: Floats | None = None

    @property
    def threshold(self) -> int:
        """How many must be there to the end."""
        return self._collector.agreement.threshold

    @property
    def names(self) -> frozenset[str]:
        """Whose numbers are in the sum, after step 3."""
        return self._collector.survivors

    @property
    def counted(self) -> frozenset[str]:
        """Whose answers count of the step that was closed last."""
        return self.names or self._collector.shared

    @property
    def liars(self) -> frozenset[str]:
        """Who has told false shares, as far as that was found."""
        return self._collector.liars

    @property
    def kind(self) -> type[Any]:
        """What devices answer this step with."""
        return UP[self.step - 1]

    @property
    def sizes(self) -> dict[str, int]:
        """Return the sizes of those answers, by dimension letter."""
        collector = self._collector
        return sizes_of(self.kind, len(collector.keys), collector.agreement.size)

    def said(self) -> dict[str, bytes]:
        """Return what is said to each device in this step, as frames; the same each time."""
        made: dict[int, bytes] = {}  # most are said the same
        for each in self._told.values():
            made.setdefault(id(each), wire.encode(self._place, each))
        return {name: made[id(each)] for name, each in self._told.items()}

    def close(self, answers: Mapping[str, Any]) -> None:
        """End a step with the answers that there are; after the last one the sum is there.

        Raises:
            SecureError: if they are too few: the round has failed.
        """
        if self.step == 2:
            self._told = self._collector.pass_on(answers)
        elif self.step == 3:
            there = self._collector.collect(answers)
            flags = [name in there for name in self._collector.keys]
            self._told = dict.fromkeys(sorted(there), Survivors(np.array(flags)))
        else:
            self.total_V = ring.decode(self._collector.total(answers))
            self._told = {}
        self.step += 1


class DeviceRound:
    """A device's side.

    Args:
        place: task, run, round and the device's name.
        values_V: its numbers.
        least: so many devices must be in each sum.
        draw: random bytes.
        own: what was drawn before.

    Raises:
        ValueError: if its numbers are too large to be added even so many times.
    """

    def __init__(
        self,
        place: Envelope,
        values_V: Floats,
        least: int,
        draw: Draw = secrets.token_bytes,
        own: Secrets | None = None,
    ) -> None:
        self._place, self._least, self._draw = place, least, draw
        self._values_V = np.asarray(values_V, np.float64)
        self._own = Secrets.drawn(draw) if own is None else own
        self._size = len(self._values_V)
        self._device: SecureDevice | None = None
        self._keys: AllKeys | None = None
        self._heard: list[str] = []  # digests of what was answered
        self._is_out = False  # after what it would not answer
        ring.encode(self._values_V, least)

    @property
    def public_keys(self) -> PublicKeys:
        """What the device answers a round with: step 1."""
        return self._own.public(self._size)

    def repeats(self, payload: bytes) -> bool:
        """Return whether a frame asks for the last answer again."""
        return bool(self._heard) and wire.digest(payload) == self._heard[-1]

    def answer(self, payload: bytes) -> bytes | None:
        """Return the answer to the server's next frame; None for one that is not the next.

        Raises:
            SecureError: if it asks for what would say too much; or the numbers are too large for
                the sum of so many.
            WireError: if it is no frame of this round's.
        """
        opened = wire.open_frame(payload)
        if not self._is_mine(opened):
            raise wire.ContentError("a message of another round, or not the server's")
        step = step_of(opened.kinds, DOWN)
        if step is None:
            raise wire.KindError(f"{opened.kinds!r} is no step")
        if step <= len(self._heard):
            if opened.digest != self._heard[step - 1]:
                raise SecureError(f"step {step + 1} is asked for twice, in two ways")
            return None
        if self._is_out or step > len(self._heard) + 1:
            return None
        kind, devices = DOWN[step - 1], None if self._keys is None else len(self._keys.mask_NB)
        message = opened.read(kind, sizes=sizes_of(kind, devices, self._size))[kind]
        self._is_out = True
        made = wire.encode(self._place, self._told(message))
        self._is_out = False
        self._heard.append(opened.digest)
        return made

    def _is_mine(self, opened: OpenFrame) -> bool:
        told, mine = opened.envelope, self._place
        same = (told.task, told.run, told.round) == (mine.task, mine.run, mine.round)
        return same and told.sender == SERVER

    def _told(self, message: Any) -> Any:
        if isinstance(message, AllKeys):
            self._device = self._begun(message)
            found = self._device.share(message.by_device())
            self._keys = message
            return found
        if self._device is None or self._keys is None:
            raise SecureError("a step before the first")
        names = sorted(self._keys.by_device())
        if isinstance(message, SealedShares):
            values_V, self._values_V = self._values_V, np.zeros(0)
            return self._device.masked(self._encoded(values_V, len(names)), message)
        there = [n for n, known in zip(names, message.there_N, strict=True) if known]
        return self._device.reveal(there)

    def _encoded(self, values_V: Floats, devices: int) -> ring.Ring:
        try:
            return ring.encode(values_V, devices)
        except ValueError as error:
            raise SecureError(str(error)) from error

    def _begun(self, keys: AllKeys) -> SecureDevice:
        """Return the device's part of a round that has begun.

        Raises:
            SecureError: if fewer devices might be in the sum than the contract says.
        """
        if keys.threshold < self._least or keys.size != self._size:
            problem = f"a sum of {keys.threshold} devices and {keys.size} numbers"
            raise SecureError(
                f"{problem}; the contract says {self._least}, and there are {self._size}"
            )
        place, count = self._place, len(keys.mask_NB)
        facts = place.task, place.run, place.round, keys.threshold, keys.size, count
        return SecureDevice(place.sender, Agreement(*facts), self._draw, self._own)

    # ---- what a restart goes on with

    def arrays(self) -> Arrays:
        """Return what `restored` goes on with; nothing once the last step is answered."""
        if len(self._heard) == len(DOWN):
            return {}
        found: dict[str, npt.NDArray[Any]] = {
            "secrets": as_array(self._own.joined()),
            "values": self._values_V,
            "size": np.array([self._size], np.int64),
            "heard": as_array("".join(self._heard).encode()),
        }
        if self._device is None or self._keys is None:
            return found
        held, names = self._device.held, sorted(self._keys.by_device())
        blank = bytes(HELD_BYTES)
        return {
            **found,
            "keys": as_array(wire.encode(replace(self._place, sender=SERVER), self._keys)),
            "held": as_array(b"".join(held.get(name, blank) for name in names)),
            "holds": np.array([name in held for name in names]),
            "shared": np.array([name in self._device.shared for name in names]),
        }

    @classmethod
    def restored(cls, place: Envelope, least: int, arrays: Arrays) -> Self:
        """Return a round as it was when `arrays` was called.

        Raises:
            ValueError: if they are not what was written.
        """
        try:
            made = cls(place, arrays["values"], least, own=Secrets.of(arrays["secrets"].tobytes()))
            made._size = int(arrays["size"][0])
            text = arrays["heard"].tobytes().decode()
            made._heard = [text[at : at + 64] for at in range(0, len(text), 64)]
            if "keys" in arrays:
                made._restore(arrays)
        except (LookupError, SecureError, wire.WireError) as error:
            raise ValueError(f"no round of secure aggregation: {error}") from error
        return made

    def _restore(self, arrays: Arrays) -> None:
        self._keys = wire.decode(arrays["keys"].tobytes(), AllKeys)[AllKeys]
        keys, held = self._keys.by_device(), arrays["held"].tobytes()
        names = sorted(keys)
        rows = [held[at : at + HELD_BYTES] for at in range(0, len(held), HELD_BYTES)]
        holds = {n: row for n, row, has in zip(names, rows, arrays["holds"], strict=True) if has}
        shared = [n for n, has in zip(names, arrays["shared"], strict=True) if has]
        begun = self._begun(self._keys)
        self._device = begun.continued(keys, holds, shared, STEPS[: len(self._heard)])
