"""Whether a client signs and checks messages; only then is there a need of cryptography."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop.errors import BrokerSetupError
from edgeloop.mqtt.messages import Arrival
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.tracing import Notes

if TYPE_CHECKING:
    from edgeloop.mqtt.seal import Seal

OVERHEAD, SEALED_OVERHEAD = 1024, 4096
"""Bytes of a packet besides its payload: topic, properties, head; with signature and certificate,
too."""


def seal_of(broker: BrokerSettings, folder: Path | None = None) -> "Seal | None":
    """Return what signs and checks a client's messages; None where its settings ask for nothing.

    Args:
        broker: its settings.
        folder: where it is noted until when was signed; None for nowhere.

    Raises:
        BrokerSetupError: if a file cannot be used, or cryptography is not installed.
    """
    if broker.signing == "off":
        return None
    try:
        from edgeloop.mqtt.seal import Seal
    except ModuleNotFoundError as error:
        remedy = 'install cryptography, or give signatures = "off"'
        raise BrokerSetupError("broker.signatures", f"needs {error.name}", remedy) from error
    return Seal(broker, folder=folder)


def signed(seal: "Seal | None", topic: str, payload: bytes, notes: Notes) -> Notes:
    """Return a message's user properties, with its signature where there is to be one."""
    return notes if seal is None else seal.signed(topic, payload, notes)


def checked(seal: "Seal | None", arrival: Arrival) -> Arrival:
    """Return a message with what is known of who says it, where that is asked for."""
    return arrival if seal is None else seal.checked(arrival)


def overhead(seal: "Seal | None", packet: int) -> int:
    """Return the bytes of a packet besides its payload, of so many that the broker takes."""
    return OVERHEAD if seal is None else min(SEALED_OVERHEAD, max(OVERHEAD, packet // 2))
