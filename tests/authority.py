"""Certificates for tests, from an authority of their own: a broker's, and one for each client."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from edgeloop.runtime.config import BrokerSettings


class Authority:
    """A certificate authority, and a folder for what it signs.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / "ca.crt"
        self._authority.cert_pem.write_to_path(str(self.file))

    def sign(
        self,
        name: str,
        *hosts: str,
        until: datetime | None = None,
        since: datetime | None = None,
    ) -> tuple[Path, Path]:
        """Make a certificate and its key, for a server if hosts are named; return their files."""
        names = hosts or [f"{name}.invalid"]
        signed = self._authority.issue_cert(
            *names, common_name=name, not_before=since, not_after=until
        )
        certificate, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        signed.private_key_pem.write_to_path(str(key))
        certificate.write_bytes(b"".join(each.bytes() for each in signed.cert_chain_pems))
        return certificate, key

    def revoke(self, certificate: Path) -> Path:
        """Return a file with a list of revoked certificates, this one on it, PEM."""
        revoked = x509.load_pem_x509_certificate(certificate.read_bytes())
        signer = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        key = load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        now = datetime.now(UTC)
        entry = x509.RevokedCertificateBuilder().serial_number(revoked.serial_number)
        made = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(signer.subject)
            .last_update(now - timedelta(days=1))
            .next_update(now + timedelta(days=1))
            .add_revoked_certificate(entry.revocation_date(now).build())
            .sign(key, SHA256())
        )
        file = self._folder / "revoked.pem"
        file.write_bytes(made.public_bytes(Encoding.PEM))
        return file

    def listener(self, *hosts: str, **dates: datetime) -> list[str]:
        """Return what makes a Mosquitto's listener ask for certificates of this authority."""
        certificate, key = self.sign("broker", *hosts, **dates)
        files = [f"cafile {self.file}", f"certfile {certificate}", f"keyfile {key}"]
        return [*files, "require_certificate true", "use_identity_as_username true"]

    def client(self, broker: BrokerSettings, name: str, **changes: Any) -> BrokerSettings:
        """Return a client's settings, with a certificate in its name."""
        certificate, key = self.sign(name)
        mine = {"ca_file": self.file, "certificate_file": certificate, "key_file": key}
        return broker.model_copy(update={**mine, **changes})
