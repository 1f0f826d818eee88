"""Whom an aggregator believes: what it learns of the authority that its task names.

devices.crt   in the task's folder: the authority that signs devices
devices.crl   its list of devices' certificates that hold no more
"""

import http.client
import logging
import ssl
import urllib.parse

from cryptography import x509

from cloud.aggregator.settings import TaskSettings
from edgeloop.errors import ConfigError, UnavailableError
from edgeloop.protocol.task import Contract
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import BrokerSettings

log = logging.getLogger(__name__)

AUTHORITY, REVOKED = "devices.crt", "devices.crl"

ANSWER_SECONDS = 10.0
MOST_ANSWER = 64 * 2**20


def completed(settings: TaskSettings) -> TaskSettings:
    """Return a task's settings with whom to believe, as its authority says; it is asked now.

    What it said before is kept in the task's folder, so that one that is away is not missed.

    Raises:
        ConfigError: if the certificates that are shown to it cannot be used, or signatures are
            asked for that nothing could check.
        RunError: if the folder cannot be written.
        UnavailableError: if it does not answer, and never has.
    """
    broker = settings.broker
    if broker.signing != "off" and settings.authority is None and broker.devices_file is None:
        problem = "need broker.devices_file, or authority, to check them"
        raise ConfigError("broker.signatures", problem, 'give one, or signatures = "off"')
    asks = settings.authority is not None and broker.devices_file is None
    if not asks or broker.signatures == "off":
        return settings
    authority, revoked = settings.folder / AUTHORITY, settings.folder / REVOKED
    try:
        refresh(settings)
    except UnavailableError as error:
        if not authority.exists() or not revoked.exists():
            raise
        log.warning("%s: believes whom it has named before", error)
    files = {"devices_file": authority, "revoked_files": (*broker.revoked_files, revoked)}
    return settings.model_copy(update={"broker": broker.model_copy(update=files)})


def refresh(settings: TaskSettings) -> None:
    """Write what the authority says now of devices; nothing where files were named for that.

    Raises:
        UnavailableError: if it does not answer, or says nothing of that.
    """
    server, folder = settings.authority, settings.folder
    if server is None or settings.broker.devices_file not in (None, folder / AUTHORITY):
        return
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        told = atomic_files.parse_json(get(settings.broker, server, "/v1/authorities"))
        authority = str(told["devices"]).encode()
        revoked = get(settings.broker, server, "/v1/revoked/devices")
        x509.load_pem_x509_certificate(authority)
        x509.load_pem_x509_crl(revoked)
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, UnavailableError | ConfigError):
            raise
        problem = f"does not say whom it has signed ({error})"
        raise UnavailableError(server, problem, "check authority") from error
    with atomic_files.writing(folder):
        for name, content in ((AUTHORITY, authority), (REVOKED, revoked)):
            path = folder / name
            if not path.exists() or path.read_bytes() != content:
                atomic_files.write(path, content, 0o644)


def get(broker: BrokerSettings, server: str, path: str) -> bytes:
    """Return what an authority answers.

    Args:
        broker: whose certificates are shown to it.
        server: its URL.
        path: what is asked.

    Raises:
        ConfigError: if the certificates cannot be used.
        UnavailableError: if it does not answer.
    """
    place = urllib.parse.urlsplit(server)
    connection = http.client.HTTPSConnection(
        str(place.hostname), place.port or 443, timeout=ANSWER_SECONDS, context=tls(broker)
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read(MOST_ANSWER)
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = f"does not answer ({error})"
        raise UnavailableError(server, problem, "check authority") from error
    finally:
        connection.close()
    if answer.status != 200:
        problem = f"does not answer {path} (HTTP {answer.status})"
        raise UnavailableError(server, problem, "check this task's certificate")
    return content


def tls(broker: BrokerSettings) -> ssl.SSLContext:
    """Return TLS with what the files of a `[broker]` table hold now.

    Raises:
        ConfigError: if they cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(broker.ca_file))
        if broker.certificate_file is not None and broker.key_file is not None:
            context.load_cert_chain(broker.certificate_file, broker.key_file, password="")
    except OSError as error:
        field = "broker.ca_file, broker.certificate_file, broker.key_file"
        raise ConfigError(field, f"cannot be used ({error})", "give PEM files") from error
    return context


def announced(contract: Contract, broker: BrokerSettings) -> Contract:
    """Return a run's contract as devices get it: whether answers must be signed, as is set now."""
    required = "required" if broker.signing == "required" else "optional"
    return contract.model_copy(update={"signatures": required})
