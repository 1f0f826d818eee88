"""Certificates for tests, from an authority of their own: a broker's, and one for each client."""

from datetime import datetime
from pathlib import Path
from typing import Any

import trustme

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
