"""Certificates and keys made by hand: who signs messages in a task, and who would like to."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloud.authority import keys
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.signing import Signer, new_key, pem
from edgeloop.mqtt.messages import Arrival
from edgeloop.mqtt.seal import Seal
from edgeloop.protocol.task import SERVER
from edgeloop.runtime.config import BrokerSettings, Signing

LIFE = timedelta(days=7)


@dataclass
class Pki:
    """Both authorities, in a folder.

    Attributes:
        folder: where everything is written.
        now: when certificates are signed, and the seals' clock.
    """

    folder: Path
    now: datetime = datetime(2026, 5, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.signers: dict[str, Signer] = keys.make(self.folder / "authority", None, self.now)
        self.revoked: dict[str, list[tuple[int, datetime]]] = {DEVICES: [], SERVICES: []}
        self.write_lists()

    def write_lists(self) -> None:
        """Sign the lists of revoked certificates, and write them."""
        for name, signer in self.signers.items():
            made = signer.revoked(self.revoked[name], self.now, timedelta(days=7))
            (self.folder / f"{name}.crl").write_text(pem(made))

    def issue(self, name: str, task: str = "t", signer: str = DEVICES, since: float = 0.0) -> str:
        """Write a key, where there is none, and a certificate signed so many days from now."""
        stem = f"{name}-of-{task}-by-{signer}"
        path = self.folder / f"{stem}.key"
        if not path.exists():
            keys.write_key(path, new_key())
        key, when = keys.read_key(path).public_key(), self.now + timedelta(days=since)
        made = self.signers[signer].sign(Identity(task, name).subject, key, (), when, LIFE)
        (self.folder / f"{stem}.crt").write_text(pem(made))
        return stem

    def revoke(self, stem: str) -> None:
        """Put a certificate on its authority's list."""
        found = keys.read_certificate(self.folder / f"{stem}.crt")
        self.revoked[stem.rpartition("-by-")[2]].append((found.serial_number, self.now))
        self.write_lists()

    def broker(self, stem: str, signatures: Signing = "required") -> BrokerSettings:
        """Return the settings of a client with a certificate, that knows both authorities."""
        return BrokerSettings(
            ca_file=self.folder / "authority" / "services.crt",
            devices_file=self.folder / "authority" / "devices.crt",
            certificate_file=self.folder / f"{stem}.crt",
            key_file=self.folder / f"{stem}.key",
            revoked_files=tuple(self.folder / f"{each}.crl" for each in (DEVICES, SERVICES)),
            signatures=signatures,
        )

    def seal(self, stem: str, signatures: Signing = "required") -> Seal:
        """Return what signs by a certificate."""
        return Seal(self.broker(stem, signatures), lambda: self.now.timestamp())

    def device(self, name: str = "one", task: str = "t") -> Seal:
        """Return a device's."""
        return self.seal(self.issue(name, task))

    def server(self, task: str = "t") -> Seal:
        """Return a task's aggregator's."""
        return self.seal(self.issue(SERVER, task, SERVICES))


def arrives(seal: Seal, topic: str, payload: bytes, **notes: str) -> Arrival:
    """Return a message as it arrives that somebody has signed, with the certificate."""
    seal.signed(topic, payload, notes)  # what is said again brings the certificate
    return Arrival(topic, payload, lambda: None, seal.signed(topic, payload, notes))
