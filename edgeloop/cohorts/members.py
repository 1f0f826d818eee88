"""Who is in a run: the devices that its contract lists, and those that were admitted since."""

import logging
from collections.abc import Collection, Iterator
from typing import Protocol

from edgeloop.protocol import history
from edgeloop.protocol.task import Contract
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.pace import LogRateLimiter

log = logging.getLogger(__name__)

MOST_DEVICES = 10_000
"""In a run, unless somebody says how many."""


class MemberLog(Protocol):
    """Where it is safe who was admitted."""

    def admitted(self) -> Collection[str]:
        """Return who was admitted, and is still in the run."""
        ...

    def admit(self, device: str, round_number: int) -> None:
        """Write that a device takes part from a round on; it is safe when this returns."""
        ...

    def trained(self, device: str, rounds: Collection[int]) -> None:
        """Write that a device has trained in rounds; nothing new where they hold its answers."""
        ...


class Members:
    """Who is in a run.

    Args:
        contract: of the run, without those who have left it.
        record: where admissions are safe; None for a run whose contract admits nobody else.
        most: devices in the run, with those that are listed.
    """

    def __init__(
        self, contract: Contract, record: MemberLog | None = None, most: int = MOST_DEVICES
    ) -> None:
        self._contract, self._record, self._most = contract, record, most
        self._names = {*contract.devices, *(() if record is None else record.admitted())}
        self._lines = LogRateLimiter()
        self._last: dict[str, int | None] = {}  # round in which a device trained, as is recorded

    def __contains__(self, device: object) -> bool:
        return device in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def contract(self) -> Contract:
        """The run's contract, without those who have left it."""
        return self._contract

    @property
    def are_open(self) -> bool:
        """Whether further devices can join."""
        return bool(self._contract.admit)

    def admit(self, device: str, round_number: int) -> bool:
        """Take a device in, if the contract admits it and there is room; tell whether it is new."""
        if device in self._names or self._record is None or not self._contract.admits(device):
            return False
        if len(self._names) >= self._most:
            if self._lines.allowed(""):
                text = "%s is not admitted: the run has %d devices, the most that it takes; "
                text += "raise cohort.max_devices, or evict some"
                log.warning(text, device, len(self._names), extra={"device": device})
            return False
        self._record.admit(device, round_number)
        self._names.add(device)
        text = "%s joins with round %d; %d devices are in the run"
        facts = {"device": device, "round": round_number}
        log.info(text, device, round_number, len(self._names), extra=facts)
        return True

    def heard(self, device: str, envelope: Envelope, in_time: bool) -> None:
        """Record in which rounds a device has trained without an answer in time.

        Args:
            device: its name.
            envelope: of an answer.
            in_time: whether that one is in the ledger.
        """
        before = history.read(envelope.trained, envelope.round)
        new = set() if self._last.get(device, -1) == max(before, default=None) else set(before)
        self._last[device] = envelope.round
        if not in_time:
            new.add(envelope.round)
        if new and self._record is not None:
            self._record.trained(device, new)

    def uncounted(self, device: str, round_number: int) -> None:
        """Record that a device has trained in a closed round, and its numbers are no part of it."""
        if self._record is not None:
            self._record.trained(device, {round_number})

    def listing(self) -> Contract:
        """Return the contract for devices that know no patterns: everybody is listed in it."""
        if not self.are_open:
            return self._contract
        return self._contract.model_copy(update={"devices": tuple(sorted(self._names))})
