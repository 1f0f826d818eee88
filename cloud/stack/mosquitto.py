"""The stack's Mosquitto: a queue on the disk, certificates, and who may write what."""

import os
from pathlib import Path

from cloud.stack.settings import StackBroker
from edgeloop.errors import BrokerSetupError
from edgeloop.protocol.task import ROOT, SERVER
from edgeloop.runtime import local_broker
from edgeloop.runtime.local_broker import Broker


def prepare_broker(settings: StackBroker, folder: Path) -> Broker:
    """Write what a broker reads; return how it is started.

    Args:
        settings: of a broker that the stack runs.
        folder: its own.

    Raises:
        BrokerSetupError: if it is not installed.
    """
    if settings.run == "wheel":
        return local_broker.embedded_broker(folder, settings.port)
    if settings.config_file is not None:
        return local_broker.mosquitto_from_file(settings.config_file.absolute())
    (folder / "data").mkdir(exist_ok=True)
    rights = folder / "rights.acl"
    rights.write_text("\n".join([*_rights(settings), ""]), encoding="utf-8")
    return local_broker.mosquitto(folder, _lines(settings, folder, rights))


def check(settings: StackBroker) -> None:
    """Refuse a broker that cannot be started here, before anything is.

    Raises:
        BrokerSetupError: naming what is missing.
    """
    if settings.run == "mosquitto" and local_broker.program() is None:
        remedy = 'apt-get install mosquitto, or set run = "wheel" or run = "external"'
        raise BrokerSetupError("broker.run", "no mosquitto is on the path", remedy)
    own = {"server_certificate_file", "server_key_file", "config_file"}
    files = {key: getattr(settings, key) for key in own}
    if settings.server_certificate_file is not None:
        files["ca_file"] = settings.ca_file
    for key, path in files.items():
        if path is not None and not os.access(path, os.R_OK):
            raise BrokerSetupError(
                f"broker.{key}", f"{path} cannot be read", "give a readable file"
            )


def _lines(settings: StackBroker, folder: Path, rights: Path) -> list[str]:
    """Return the configuration; a queue outlives a restart, and what devices must know with it."""
    return [
        "persistence true",
        f"persistence_location {folder.absolute() / 'data'}/",
        "autosave_interval 60",
        "persistent_client_expiration 14d",
        "max_queued_messages 10000",
        "log_dest stderr",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice")),
        *(["user root"] if os.geteuid() == 0 else []),  # it stays whoever else it is
        *_listener(settings, folder),
        *_access(settings, rights.absolute()),
    ]


def _listener(settings: StackBroker, folder: Path) -> list[str]:
    """Return the listener; the lines behind it are its own."""
    wanted = f"listener {settings.port} {settings.listen}"
    if settings.transport == "tcp":
        return [wanted]
    first = (
        f"listener 0 {folder.absolute() / 'socket'}"  # Mosquitto 2.0.11 wants one of another kind
    )
    return [first, wanted, "protocol websockets"]


def _access(settings: StackBroker, rights: Path) -> list[str]:
    if settings.server_certificate_file is None or settings.ca_file is None:
        return ["allow_anonymous true"]
    return [
        f"cafile {settings.ca_file.absolute()}",
        f"certfile {settings.server_certificate_file.absolute()}",
        f"keyfile {settings.server_key_file and settings.server_key_file.absolute()}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {rights}",
    ]


def _rights(settings: StackBroker) -> list[str]:
    """Return the rights; a client's name is its certificate's common name, as in the chart."""
    root = f"{settings.prefix}{ROOT}"
    lines = [f"user {name}\ntopic readwrite {root}/#" for name in (SERVER, *settings.trusted)]
    lines += [
        f"pattern read {root}/+/{what}"
        for what in ("contract", "round", "broadcast/#", "receipt/%u")
    ]
    lines += [f"pattern write {root}/+/upload/%u", f"pattern readwrite {root}/+/presence/%u"]
    return lines
