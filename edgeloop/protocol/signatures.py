"""What a signature covers, how it travels, and who may say what. No key, no clock: `mqtt.seal`.

A signed message has the MQTT 5 user property `signature`. It covers the topic (and so the task, the
kind of message and the device), when it was signed, the other user properties, and the payload's
SHA-256 (and so the run and the round, which are in each payload). The user property `certificate`
has the signer's certificate where a reader may not know it yet.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from edgeloop.protocol.admission import RESERVED
from edgeloop.protocol.rollout import APPLIED, DESIRED, SHIPPED
from edgeloop.protocol.task import EVICTED, LEFT, ROOT, SERVER

SIGNATURE, CERTIFICATE = "signature", "certificate"
"""The user properties."""

SPEAKERS = (SERVER,)
"""Services that speak for a task."""

OPERATOR = "operator"
"""The service that ships things to devices, as a task's aggregator may, too."""

SERVICES = (*SPEAKERS, OPERATOR)
"""Whose certificate is one of a service that says anything."""

LONGEST = 4096
"""Characters of either user property."""

_FORM = "edgeloop signature 1"
_VERSION = "1"
_SERVERS = ("contract", "round", "broadcast", "receipt", DESIRED, SHIPPED)
_DEVICES = ("upload", "presence", APPLIED)
_ROLLOUTS = (DESIRED, SHIPPED)
_LEVELS = {DESIRED: 4, APPLIED: 4}  # of a device's topic, where it has not three


class Signature(NamedTuple):
    """A signature as it travels.

    Attributes:
        key: SHA-256 of the signer's public key, the first 32 hexadecimal digits.
        at: when it was made, in milliseconds since 1970 by the signer's clock.
        value: ECDSA's, DER, or RSA's.
    """

    key: str
    at: int
    value: bytes

    def text(self) -> str:
        """Return the user property's value."""
        return f"{_VERSION}.{self.key}.{self.at}.{base64.b64encode(self.value).decode()}"


class Signer(NamedTuple):
    """Whom a certificate names.

    Attributes:
        task: whose rights it has; empty for a service of all tasks.
        name: within the task.
        is_service: whether the authority of services has signed it.
    """

    task: str
    name: str
    is_service: bool

    def __str__(self) -> str:
        return f"{self.name} of {self.task}" if self.task else self.name


def signature_of(notes: Mapping[str, str]) -> Signature | None:
    """Return the signature among a message's user properties; None if it cannot be read."""
    try:
        version, key, at, value = notes.get(SIGNATURE, "")[:LONGEST].split(".")
        found = Signature(key, int(at), base64.b64decode(value, validate=True))
    except (ValueError, binascii.Error):
        return None
    return found if version == _VERSION and len(key) == 32 and 0 <= found.at < 2**63 else None


def statement(topic: str, at: int, notes: Mapping[str, str], payload: bytes) -> bytes:
    """Return the bytes that are signed; of two messages that differ they do, too.

    Args:
        topic: without the broker's prefix.
        at: of the signature.
        notes: the message's user properties.
        payload: its bytes.
    """
    others = sorted(pair for pair in notes.items() if pair[0] not in (SIGNATURE, CERTIFICATE))
    return json.dumps([_FORM, topic, at, others, hashlib.sha256(payload).hexdigest()]).encode()


def place_of(topic: str) -> tuple[str, str, str] | None:
    """Return the task, the kind and the device of a topic; None if it is none that is signed.

    There is no device in what is said to all.
    """
    levels = topic.removeprefix(f"{ROOT}/").split("/")
    if not topic.startswith(f"{ROOT}/") or len(levels) < 2:
        return None
    task, kind = levels[:2]
    if kind not in (*_SERVERS, *_DEVICES):
        return None
    of_device = len(levels) == _LEVELS.get(kind, 3) and kind in ("receipt", DESIRED, *_DEVICES)
    return task, kind, levels[2] if of_device else ""


def may_say(signer: Signer, topic: str, payload: bytes) -> bool:
    """Return whether somebody may say something on a topic.

    A device speaks for itself in its own task; the task's aggregator says everything else, and
    that a device is to leave. An operator may ship things, and say nothing else.
    """
    place = place_of(topic)
    if place is None:
        return False
    task, kind, device = place
    if signer.is_service:
        if signer.name == OPERATOR:
            return signer.task in ("", task) and kind in _ROLLOUTS
        mine = signer.name in SPEAKERS and signer.task in ("", task)
        leaves = kind == "presence" and payload in (LEFT, EVICTED)
        return mine and (kind in _SERVERS or leaves or (kind, device) == ("presence", SERVER))
    if signer.name.casefold() in RESERVED:
        return False
    return (signer.task, signer.name) == (task, device) and kind in _DEVICES and payload != EVICTED
