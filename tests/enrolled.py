"""A running authority, devices that enrol at it, and a Mosquitto with the rights that it writes."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from cloud.authority import broker_command, command, publishing, service
from cloud.authority.authority import Authority
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.signing import fingerprint
from cloud.authority.tokens import Admission
from edge.agent import enrol_command
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_ports
from tests.devices import wait_until
from tests.world import Mosquitto, mosquitto_with

HOST = "127.0.0.1"
TASK = "presses"


@dataclass(frozen=True)
class Site:
    """An authority that is served.

    Attributes:
        folder: its own.
        authority: at work.
        url: where it is served.
        fingerprint: that devices pin.
    """

    folder: Path
    authority: Authority
    url: str
    fingerprint: str

    def token(self, name: str, task: str = TASK, uses: int = 1) -> str:
        """Make a token."""
        life = timedelta(hours=1)
        return self.authority.make_tokens([Admission(task, name, uses, life)], "ann")[0][1]

    def enrol(self, name: str, task: str = TASK) -> Path:
        """Enrol a device as its person does; return its folder."""
        folder = self.folder.parent / f"{name}-of-{task}"
        words = ["--server", self.url, "--token", self.token(name, task), "--name", name]
        words += ["--ca-fingerprint", self.fingerprint, "--folder", str(folder)]
        assert enrol_command.main(words) == 0
        return folder

    def issue(self, name: str, task: str = TASK) -> Path:
        """Make a service's certificate; return its folder."""
        out = self.folder.parent / f"{name}-of-{task}"
        words = [name, "--task", task, "--folder", str(self.folder), "--out", str(out)]
        assert command.main(["issue", *words]) == 0
        return out


@contextmanager
def site(folder: Path, **settings: str) -> Iterator[Site]:
    """Make an authority in a folder, and serve it."""
    place = folder / "authority"
    words = ["init", "--folder", str(place), "--host", HOST, "--port", "0"]
    assert command.main(words) == 0
    with (place / "authority.toml").open("a", encoding="utf-8") as file:
        file.writelines(f'{key} = "{value}"\n' for key, value in settings.items())
    with service.opened(place) as (authority, _), service.serving(place) as server:
        print_ = fingerprint(authority.certificate(SERVICES))
        yield Site(place, authority, f"https://{HOST}:{server.port}", print_)


@dataclass(frozen=True)
class GuardedBroker:
    """A Mosquitto with the configuration that `edgeloop broker config` writes.

    Attributes:
        mosquitto: the process.
        folder: its own.
        devices: its port for devices.
        services: its port for aggregators.
        site: whose rights it has.
    """

    mosquitto: Mosquitto
    folder: Path
    devices: int
    services: int
    site: Site

    def settings(
        self, folder: Path, name: str = "device", port: int | None = None
    ) -> BrokerSettings:
        """Return what a client needs that has a key and a certificate in a folder."""
        authority = "ca.crt" if name == "device" else "services.crt"
        return BrokerSettings(
            host=HOST,
            port=port or (self.devices if name == "device" else self.services),
            ca_file=folder / authority,
            certificate_file=folder / f"{name}.crt",
            key_file=folder / f"{name}.key",
            connect_seconds=2.0,
        )

    def update(self) -> None:
        """Write the rights as they are now, as `edgeloop ca serve` does every few seconds."""
        wait_until(self._written)
        self.mosquitto.process.send_signal(signal.SIGHUP)

    def _written(self) -> bool:
        """Write; tell whether the lists have all who are revoked: they have whole seconds."""
        publishing.write(self.site.authority, self.folder, "")
        return all(self._is_listed(signer) for signer in (DEVICES, SERVICES))

    def _is_listed(self, signer: str) -> bool:
        found = x509.load_pem_x509_crl((self.folder / f"{signer}.crl").read_bytes())
        return serials(found) == serials(self.site.authority.revoked(signer))


def serials(found: x509.CertificateRevocationList) -> set[int]:
    """Return which certificates a list has."""
    return {each.serial_number for each in found}


@contextmanager
def guarded_broker(here: Site) -> Iterator[GuardedBroker]:
    """Start a Mosquitto whose certificates and configuration the commands have made."""
    out, ports = here.folder.parent / "broker", free_ports(2)
    words = ["broker", "--host", HOST, "--folder", str(here.folder), "--out", str(out)]
    assert command.main(["issue", *words]) == 0
    words = ["config", "--folder", str(out), "--listen", HOST, "--port", str(ports[0])]
    assert broker_command.main([*words, "--services-port", str(ports[1])]) == 0
    with mosquitto_with(out / "mosquitto.conf", ports[0]) as started:
        yield GuardedBroker(started, out, ports[0], ports[1], here)
