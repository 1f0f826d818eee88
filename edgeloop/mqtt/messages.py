"""What arrives from a broker, and the properties that a message goes with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeloop.runtime.tracing import Notes


class Trust(NamedTuple):
    """What is known of who says a message, where signatures are asked for.

    Attributes:
        at: when it was signed, in milliseconds since 1970 by its signer's clock; 0 if it is not.
        signer: who has signed it.
        refusal: why it is not to be believed; empty if it is.
        is_unknown: whether that is because its signer's certificate has not come yet.
    """

    at: int = 0
    signer: str = ""
    refusal: str = ""
    is_unknown: bool = False


NOT_ASKED = Trust()


@dataclass(frozen=True)
class Arrival:
    """A message that arrived.

    Attributes:
        topic: where it was published.
        payload: its bytes.
        acknowledge: tells the broker that it need not deliver it again.
        notes: its MQTT 5 user properties; of several with one name, the last.
        retained: whether the broker kept it, and sends it now because of a subscription.
        trust: what is known of who says it.
    """

    topic: str
    payload: bytes
    acknowledge: Callable[[], None]
    notes: Notes = field(default_factory=dict)
    retained: bool = False
    trust: Trust = NOT_ASKED


@dataclass(frozen=True)
class Reconnected:
    """The connection was lost and is back; the broker may have forgotten what it held for us."""


class _Expiring(Properties):
    """That a message expires, packed once: many go with nothing else."""

    def __init__(self, seconds: int) -> None:
        super().__init__(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left it out
        self.MessageExpiryInterval = seconds
        packed = bytes(super().pack())  # type: ignore[no-untyped-call]  # paho left it out
        object.__setattr__(self, "_packed", packed)  # its own refuses names that MQTT lacks

    def pack(self) -> bytes:
        """Return them as they travel."""
        packed: bytes = object.__getattribute__(self, "_packed")
        return packed


@cache
def _expiring(seconds: int) -> Properties:
    return _Expiring(seconds)


def properties(notes: Notes, expiry: int | None = None, will: bool = False) -> Properties | None:
    """Return the MQTT 5 properties of a message, or of a last will; None where it has none."""
    if not notes and expiry is None:
        return None
    if not notes and expiry is not None and not will:
        return _expiring(expiry)
    found = Properties(PacketTypes.WILLMESSAGE if will else PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left it out
    if notes:
        found.UserProperty = list(notes.items())
    if expiry is not None:
        found.MessageExpiryInterval = expiry
    return found
