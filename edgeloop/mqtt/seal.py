"""Signs what a client sends, and checks what it hears against the authority.

A connection may be read and written by others than those who should: by whoever runs the broker,
by whoever has a certificate that opens it, by everybody where a listener is plain. What is signed
they cannot forge.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from edgeloop.errors import BrokerSetupError
from edgeloop.mqtt import certificates
from edgeloop.mqtt.certificates import Known, WatchedFile
from edgeloop.mqtt.messages import Arrival, Trust
from edgeloop.mqtt.signing_times import SigningTimes
from edgeloop.protocol import signatures
from edgeloop.protocol.rollout import APPLIED, DESIRED
from edgeloop.protocol.signatures import CERTIFICATE, SIGNATURE, Signature
from edgeloop.runtime.config import BrokerSettings

log = logging.getLogger(__name__)

MOST_KNOWN = 100_000
"""Certificates that are remembered: a task has no more devices."""

MOST_SENT = 1024
"""Messages of which it is remembered that they were sent: again, they bring the certificate."""

UNSIGNED = "it is not signed"
_WITH_CERTIFICATE = ("contract", "round", "presence", DESIRED, APPLIED)
_LOOK_SECONDS = 1.0


class Seal:
    """Signs and checks.

    Args:
        broker: its certificate and key sign; its authorities are trusted.
        now: seconds since 1970.
        folder: where it is noted until when was signed, for the next process; None for nowhere.

    Raises:
        BrokerSetupError: if a file cannot be used, or the certificate is not the key's.
    """

    def __init__(
        self,
        broker: BrokerSettings,
        now: Callable[[], float] = time.time,
        folder: Path | None = None,
    ) -> None:
        self._hand, self._now = _Hand(broker), now
        self._times = SigningTimes(folder, now)
        self._authorities = _Authorities(broker)
        self._required = broker.signing == "required"
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._said: dict[str, tuple[bytes, str]] = {}  # on topics of all: what, and its signature
        self._sent: OrderedDict[tuple[str, int], None] = OrderedDict()

    # ---- what is sent

    @property
    def certificate_number(self) -> int:
        """How often the certificate was read: another number, another certificate."""
        self._hand.certificate.now()
        return self._hand.certificate.number

    def signed(self, topic: str, payload: bytes, notes: Mapping[str, str]) -> Mapping[str, str]:
        """Return a message's user properties with a signature; those of no signed kind as they are.

        What is said again to all has the signature that it had, so that nobody takes it for newer.
        """
        place = signatures.place_of(topic)
        if place is None or not payload:
            return notes
        kind, shows = place[1], place[1] in _WITH_CERTIFICATE
        if kind in ("contract", "round"):
            text = self._said_again(topic, payload, notes)
        else:
            text = self._signature(topic, payload, notes).text()
            shows = shows or self._is_repeated(topic, payload)
        own = {CERTIFICATE: self._hand.text()} if shows else {}
        return {**notes, SIGNATURE: text, **own}

    def _said_again(self, topic: str, payload: bytes, notes: Mapping[str, str]) -> str:
        said = signatures.statement(topic, self.certificate_number, notes, payload)
        if (before := self._said.get(topic)) is not None and before[0] == said:
            return before[1]
        text = self._signature(topic, payload, notes).text()
        self._said[topic] = said, text
        return text

    def _is_repeated(self, topic: str, payload: bytes) -> bool:
        """Return whether the same was sent before: its reader may not have the certificate."""
        place = topic, hash(payload)
        again = place in self._sent
        self._sent[place] = None
        self._sent.move_to_end(place)
        if len(self._sent) > MOST_SENT:
            self._sent.popitem(last=False)
        return again

    def _signature(self, topic: str, payload: bytes, notes: Mapping[str, str]) -> Signature:
        at = self._times.next()
        said = signatures.statement(topic, at, notes, payload)
        key, name = self._hand.key()
        return Signature(name, at, certificates.sign(key, said))

    # ---- what is heard

    def checked(self, arrival: Arrival) -> Arrival:
        """Return a message with what is known of who says it; nothing of it raises an error."""
        if signatures.place_of(arrival.topic) is None or not arrival.payload:
            return arrival
        return replace(arrival, trust=self._trust(arrival))

    def _trust(self, arrival: Arrival) -> Trust:
        notes = arrival.notes
        if SIGNATURE not in notes:
            return Trust(refusal=UNSIGNED if self._required else "")
        found = signatures.signature_of(notes)
        if found is None:
            return Trust(refusal="its signature cannot be read")
        if CERTIFICATE in notes and (wrong := self._learn(notes[CERTIFICATE], found.key)):
            return Trust(refusal=wrong)
        holder = self._known.get(found.key)
        if holder is None:
            return Trust(refusal="its signer's certificate is not known", is_unknown=True)
        wrong = self._obstacle(holder, arrival, found)
        return Trust(found.at, str(holder.signer), wrong)

    def _obstacle(self, holder: Known, arrival: Arrival, found: Signature) -> str:
        """Return why a message of a certificate's holder is not believed; empty if it is."""
        who, now = f"the certificate of {holder.signer}", datetime.fromtimestamp(self._now(), UTC)
        if not holder.since <= now <= holder.until:
            dates = f"{holder.since:%Y-%m-%d} to {holder.until:%Y-%m-%d}"
            return f"{who} does not hold now ({dates}, by this machine's clock)"
        if self._authorities.has_revoked(holder):
            return f"{who} is revoked"
        if not signatures.may_say(holder.signer, arrival.topic, arrival.payload):
            return f"it is signed by {holder.signer}, who may not say that"
        said = signatures.statement(arrival.topic, found.at, arrival.notes, arrival.payload)
        if not holder.fits(found.value, said):
            return "its signature is of another message, or it was changed on its way"
        return ""

    def _learn(self, text: str, key: str) -> str:
        """Take a certificate; return what is wrong with it, or nothing."""
        before = self._known.get(key)
        certificate = certificates.of_text(text)
        if certificate is None:
            return "its certificate cannot be read"
        if before is not None and before.serial == certificate.serial_number:
            return ""
        found = self._authorities.known(certificate)
        if found is None:
            return "no authority that is trusted here has signed its certificate"
        if certificates.key_id(found.key) != key:
            return "its certificate is of another key"
        if before is None or found.until > before.until or self._authorities.has_revoked(before):
            self._known[key] = found
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return ""


class _Hand:
    """This client's own key and certificate; read again when the files change."""

    def __init__(self, broker: BrokerSettings) -> None:
        if broker.certificate_file is None or broker.key_file is None:
            remedy = 'give them, or signatures = "off"'
            raise BrokerSetupError(
                "broker.signatures", "need certificate_file, key_file and ca_file", remedy
            )
        self.certificate = WatchedFile(broker.certificate_file, _first)
        self._key = WatchedFile(broker.key_file, certificates.read_key)
        self.certificate.first("certificate_file", "give a certificate, PEM")
        self._key.first("key_file", "give its key, PEM, without a passphrase: EC or RSA")
        self._pair = self._read()
        if self._pair is None:
            problem = f"{broker.key_file} is not the key of {broker.certificate_file}"
            raise BrokerSetupError("broker.key_file", problem, "give the certificate's own key")

    def _read(self) -> tuple[certificates.PrivateKey, str, str] | None:
        certificate, key = self.certificate.now(), self._key.now()
        if certificate is None or key is None or certificate.public_key() != key.public_key():
            return None  # half replaced
        return key, certificates.key_id(key.public_key()), certificates.as_text(certificate)

    def _now(self) -> tuple[certificates.PrivateKey, str, str]:
        before = self.certificate.number, self._key.number
        self.certificate.now()
        self._key.now()
        if self._pair is None or before != (self.certificate.number, self._key.number):
            self._pair = self._read() or self._pair
        assert self._pair is not None  # noqa: S101 - it was there at the start
        return self._pair

    def key(self) -> tuple[certificates.PrivateKey, str]:
        """Return the key, and what a signature calls it."""
        return self._now()[:2]

    def text(self) -> str:
        """Return the certificate as it travels."""
        return self._now()[2]


class _Authorities:
    """Who is trusted, and which certificates they have taken back."""

    def __init__(self, broker: BrokerSettings) -> None:
        self._files = [WatchedFile(path, certificates.read_all) for path in _trusted(broker)]
        for file, key in zip(self._files, ("ca_file", "devices_file"), strict=False):
            file.first(key, "give the authority's certificate, PEM")
        self._lists = [WatchedFile(path, certificates.read_lists) for path in broker.revoked_files]
        for each in self._lists:
            if each.path.exists():
                each.first("revoked_files", "give lists of revoked certificates, PEM")
            else:
                text = "%s is not there: until it is, no certificate counts as revoked by it"
                log.warning(text, each.path)
        self._revoked: frozenset[tuple[bytes, int]] = frozenset()
        self._state: tuple[int, ...] = ()
        self._looked = 0.0

    def known(self, certificate: x509.Certificate) -> Known | None:
        """Return what a certificate says, if an authority has signed it that may sign such."""
        for number, file in enumerate(self._files):
            authorities = file.now() or ()
            if certificates.issued_by(certificate, authorities) is not None:
                found = certificates.known(certificate, is_service=number == 0)
                speaks = found is not None and found.signer.name in signatures.SERVICES
                if found is not None and (number > 0 or speaks):
                    return found
        return None

    def has_revoked(self, holder: Known) -> bool:
        """Return whether a certificate is on a list of its authority."""
        if (now := time.monotonic()) - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._look()
        return (holder.issuer, holder.serial) in self._revoked

    def _look(self) -> None:
        lists = [each for file in self._lists for each in file.now() or ()]
        numbers = [file.number for file in self._lists]
        state = (*numbers, *(file.number for file in self._files))
        if state == self._state:
            return
        self._state = state
        trusted = [each for file in self._files for each in file.now() or ()]
        self._revoked = frozenset(
            (each.issuer.public_bytes(), entry.serial_number)
            for each in lists
            if any(_is_by(each, one) for one in trusted)
            for entry in each
        )


def _trusted(broker: BrokerSettings) -> list[Path]:
    return [path for path in (broker.ca_file, broker.devices_file) if path is not None]


def _first(pem: bytes) -> x509.Certificate:
    return certificates.read_all(pem)[0]


def _is_by(revoked: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Return whether an authority has signed a list."""
    key = authority.public_key()
    if revoked.issuer != authority.subject or not isinstance(key, certificates.PublicKey):
        return False
    try:
        return bool(revoked.is_signature_valid(key))
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
