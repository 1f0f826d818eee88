"""A round of secure aggregation as frames, for any transport: who says what, and when.

Neither side has a clock or a socket of its own: the time is passed in, and frames are returned.
What comes late, twice, out of order or from a stranger is not taken.
"""

import secrets
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from edgeloop.protocol import wire
from edgeloop.protocol.task import SERVER
from edgeloop.protocol.wire import Envelope
from edgeloop.secure import ring
from edgeloop.secure.agreement import Agreement
from edgeloop.secure.collector import Collector
from edgeloop.secure.device import SEALED_BYTES, SecureDevice
from edgeloop.secure.keys import SIZE
from edgeloop.secure.messages import AllKeys, Masked, PublicKeys, Revealed, SealedShares, Survivors
from edgeloop.secure.ring import Floats
from edgeloop.secure.shamir import SHARE_BYTES, Draw

UP: tuple[type[Any], ...] = (PublicKeys, SealedShares, Masked, Revealed)
"""What devices send, step by step."""

DOWN: tuple[type[Any], ...] = (AllKeys, SealedShares, Survivors)
"""What the server answers the first three with."""

_BYTES = {
    "PublicKeys": SIZE,
    "AllKeys": SIZE,
    "SealedShares": SEALED_BYTES,
    "Revealed": SHARE_BYTES,
}


def _frame(agreement: Agreement, sender: str, message: Any) -> bytes:
    return wire.encode(Envelope(agreement.task, agreement.run, agreement.round, sender), message)


def _open(agreement: Agreement, payload: bytes, kind: type[Any], devices: int | None) -> Any:
    """Return the sender and the message of a frame.

    Raises:
        WireError: if it is no frame of this kind and of this round's sizes.
    """
    size = _BYTES.get(kind.__name__, 0)
    sizes = {"B": size, "S": size, "V": agreement.size}
    sizes |= {} if devices is None else {"N": devices}
    frame = wire.decode(payload, kind, sizes=sizes)
    mine = agreement.task, agreement.run, agreement.round
    told = frame.envelope
    if (told.task, told.run, told.round) != mine:
        raise wire.ContentError("a message of another round")
    return told.sender, frame[kind]


class ServerRound:
    """The server's side.

    Args:
        agreement: the round's facts.
        invited: who may take part.
        seconds: that each step waits for answers.
        now: the time.
    """

    def __init__(
        self, agreement: Agreement, invited: Collection[str], seconds: float, now: float
    ) -> None:
        self._agreement, self._seconds = agreement, seconds
        self._collector = Collector(agreement)
        self._step, self._expected = 0, frozenset(invited)
        self._answers: dict[str, Any] = {}
        self._deadline = now + seconds
        self.total_V: Floats | None = None

    @property
    def names(self) -> frozenset[str]:
        """Whose numbers are in the sum."""
        return self._collector.survivors

    def receive(self, payload: bytes) -> bool:
        """Take a device's frame; return whether it is an answer to this step, and its first."""
        if self._step == len(UP):
            return False
        devices = None if self._step == 0 else len(self._collector.keys)
        try:
            name, message = _open(self._agreement, payload, UP[self._step], devices)
        except wire.WireError:
            return False
        if name not in self._expected or name in self._answers:
            return False
        self._answers[name] = message
        return True

    def advance(self, now: float) -> dict[str, bytes]:
        """Return what is to be sent, by device, if a step is over: all have answered, or its time.

        After the last step the sum is there.

        Raises:
            SecureError: if too few have answered: the round has failed.
        """
        done = self._answers.keys() == self._expected or now >= self._deadline
        if self._step == len(UP) or not done:
            return {}
        answers, self._answers = dict(sorted(self._answers.items())), {}
        sent = self._next(answers)
        self._step += 1
        self._deadline = now + self._seconds
        self._expected = frozenset(sent)
        return {n: _frame(self._agreement, SERVER, each) for n, each in sent.items()}

    def _next(self, answers: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a step's messages, by device."""
        if self._step == 0:
            keys = AllKeys.of(self._collector.begin(answers))
            return dict.fromkeys(answers, keys)
        if self._step == 1:
            return self._collector.pass_on(answers)
        if self._step == 2:
            there = self._collector.collect(answers)
            flags = [name in there for name in self._collector.keys]
            return dict.fromkeys(sorted(there), Survivors(np.array(flags)))
        self.total_V = ring.decode(self._collector.total(answers))
        return {}


class DeviceRound:
    """A device's side.

    Args:
        name: the device's.
        agreement: the round's facts.
        values_V: its numbers.
        draw: random bytes.

    Raises:
        ValueError: if its numbers are too large.
    """

    def __init__(
        self, name: str, agreement: Agreement, values_V: Floats, draw: Draw = secrets.token_bytes
    ) -> None:
        self._name, self._agreement = name, agreement
        self._values_V = ring.encode(values_V, agreement.devices)
        self._device = SecureDevice(name, agreement, draw)
        self._names: list[str] = []
        self._step = 0

    def begin(self) -> bytes:
        """Return the first frame."""
        return _frame(self._agreement, self._name, self._device.public_keys())

    def answer(self, payload: bytes) -> bytes | None:
        """Return the answer to the server's next frame; None for one that is not the next.

        Raises:
            SecureError: if it asks for what would say too much; the device takes no more part.
        """
        if self._step == len(DOWN):
            return None
        devices = len(self._names) if self._step else None
        try:
            sender, message = _open(self._agreement, payload, DOWN[self._step], devices)
        except wire.WireError:
            return None
        if sender != SERVER:
            return None
        self._step += 1
        return _frame(self._agreement, self._name, self._told(message))

    def _told(self, message: Any) -> Any:
        if isinstance(message, AllKeys):
            keys = message.by_device()
            self._names = sorted(keys)
            return self._device.share(keys)
        if isinstance(message, SealedShares):
            return self._device.masked(self._values_V, message)
        there = [n for n, known in zip(self._names, message.there_N, strict=True) if known]
        return self._device.reveal(there)
