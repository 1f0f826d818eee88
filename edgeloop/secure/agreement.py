"""What all sides of a round of secure aggregation know, and how their messages are told apart."""

from collections.abc import Collection
from dataclasses import dataclass

from edgeloop.secure import ring


class SecureError(ValueError):
    """A step that does not follow from the ones before, or would say too much."""


class SpoiledError(SecureError):
    """No so many shares make what a device has committed to: it, or too many others, have lied.

    Attributes:
        device: whose secret it is.
    """

    def __init__(self, device: str, shares: int) -> None:
        super().__init__(f"{shares} shares make no secret that {device} has committed to")
        self.device = device


@dataclass(frozen=True)
class Agreement:
    """A round's facts.

    Attributes:
        task: the task's name.
        run: the run's identity.
        round: its number.
        threshold: so many devices must be there to the end; more than half of those who begin.
        size: V, numbers of a vector.
        devices: so many may take part; the sum of so many vectors fits.
    """

    task: str
    run: str
    round: int
    threshold: int
    size: int
    devices: int

    def check_begun(self, names: Collection[str]) -> None:
        """Refuse a round of too few, or of so many that two halves could each make the sum.

        Raises:
            SecureError: saying which.
        """
        if not self.threshold <= len(names) <= self.devices:
            raise SecureError(f"{len(names)} devices, {self.threshold} to {self.devices} can")
        if 2 * self.threshold <= len(names):
            raise SecureError(f"a threshold of {self.threshold} is no majority of {len(names)}")

    def bound(self, sender: str, receiver: str) -> bytes:
        """Return what ties sealed shares to their place."""
        return "\0".join([*self.facts, sender, receiver]).encode()

    @property
    def facts(self) -> tuple[str, str, str]:
        """What the keys of a round are for."""
        return self.task, self.run, str(self.round)

    def mask(self, key: bytes) -> ring.Ring:
        """Return the mask that a key makes."""
        return ring.mask(key, self.size)


def points(names: Collection[str]) -> dict[str, int]:
    """Return each device's point of Shamir's polynomials: its place by name, from 1."""
    return {name: place for place, name in enumerate(sorted(names), start=1)}


def sign(mine: str, other: str) -> int:
    """Return whether a device adds (1) or subtracts (-1) what it shares with another."""
    return 1 if mine < other else -1


def pair(one: str, other: str) -> tuple[str, str]:
    """Return a pair's names, in an order that both sides know."""
    return (one, other) if one < other else (other, one)
