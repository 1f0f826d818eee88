"""Mosquitto's configuration: two listeners, one for devices and one for services.

On the devices' listener a client's certificate is its user's name and its client id at once, so
that nobody takes another's session. On the services' listener an aggregator chooses client ids,
since several processes share its certificate; it trusts the authority of services alone, which
signs no device.
"""

import os
from dataclasses import dataclass
from pathlib import Path

CONFIG, RIGHTS, PID = "mosquitto.conf", "rights.acl", "mosquitto.pid"


@dataclass(frozen=True)
class Listening:
    """Where a broker listens.

    Attributes:
        devices: address and port for devices.
        services: address and port for aggregators.
        websockets: whether devices come over websockets.
    """

    devices: tuple[str, int] = ("0.0.0.0", 8883)  # noqa: S104 - devices are elsewhere
    services: tuple[str, int] = ("127.0.0.1", 8884)
    websockets: bool = False


def config(folder: Path, listening: Listening) -> str:
    """Return the configuration of a broker whose files are in a folder."""
    place = folder.absolute()
    address, port = listening.devices
    lines = [
        "# Written by edgeloop broker config.",
        *common(place),
        f"pid_file {place / PID}",
        f"acl_file {place / RIGHTS}",
        "allow_anonymous false",
        "check_retain_source true",
        *_listener(place, *listening.services, "services"),
        *_listener(place, address, port, "devices"),
        *(["protocol websockets"] if listening.websockets else []),
        "use_username_as_clientid true",
    ]
    return "\n".join([*lines, ""])


def common(folder: Path) -> list[str]:
    """Return what each broker has: a queue outlives a restart, and what devices must know, too."""
    return [
        "persistence true",
        f"persistence_location {folder / 'data'}/",
        "autosave_interval 60",
        "persistent_client_expiration 14d",
        "max_queued_messages 10000",
        "log_dest stderr",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice")),
        *(["user root"] if os.geteuid() == 0 else []),  # it stays whoever else it is
    ]


def _listener(folder: Path, address: str, port: int, signer: str) -> list[str]:
    return [
        f"listener {port} {address}",
        f"cafile {folder / signer}.crt",
        f"crlfile {folder / signer}.crl",
        f"certfile {folder / 'broker.crt'}",
        f"keyfile {folder / 'broker.key'}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_subject_as_username true",
    ]
