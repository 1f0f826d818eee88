"""A device's identity: a folder with its key, which never leaves it, and its certificate."""

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from pydantic import Field

from edge.agent.authority_client import AuthorityAwayError, Place, ask, fetch
from edge.agent.settings import DeviceSettings
from edgeloop.errors import ConfigError, EdgeloopError, RunError, TakenError
from edgeloop.mqtt import tls
from edgeloop.protocol.task import DeviceName, Name
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import BrokerSettings, Port, Settings, parse

log = logging.getLogger(__name__)

KEY, CERTIFICATE, AUTHORITY, FACTS = "device.key", "device.crt", "ca.crt", "identity.json"

REVOKED = "services.crl"
"""The authority's list of services' certificates that hold no more; `renewal` keeps it."""


class Facts(Settings):
    """What a device was told when it enrolled.

    Attributes:
        server: the authority's URL.
        task: that the device was admitted to.
        name: the device's.
        broker_host: where its broker is.
        broker_port: likewise.
        labels: of the device.
    """

    server: str
    task: Name
    name: DeviceName
    broker_host: Annotated[str, Field(min_length=1)]
    broker_port: Port
    labels: Annotated[dict[str, str], Field(default_factory=dict)]


def enrol(folder: Path, place: Place, authority: str, token: str, name: str) -> Facts:
    """Make a key, have a certificate signed by a token, and write both into a folder.

    A folder where the answer was lost can be used again: its key is the one that was sent.

    Args:
        folder: made, for its user alone, if it is not there.
        place: of the authority.
        authority: its certificate, PEM, which was checked.
        token: that the operator gave.
        name: of the device.

    Raises:
        TakenError: if the folder has a certificate already.
        AuthorityError: if the token does not admit the device.
        AuthorityAwayError: if the authority does not answer.
        RunError: if the folder cannot be written.
    """
    if (folder / CERTIFICATE).exists():
        remedy = "name another folder, or remove that one to enrol again"
        raise TakenError(f"folder {folder}", "has a certificate already", remedy)
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = _key(folder / KEY)
    question = {"token": token, "request": _request(key, name)}
    told = ask(place, authority, "/v1/enrol", question)
    facts = _keep(folder, place, key, told)
    try_fetch_revoked(folder)
    return facts


def has_certificate(folder: Path, name: str) -> bool:
    """Return whether a device has enrolled into a folder.

    Raises:
        ConfigError: if another one has, or what is there is no identity.
    """
    if not (folder / CERTIFICATE).exists():
        return False
    if (held := read(folder).name) != name:
        remedy = "name another folder, or remove that one to enrol anew"
        raise ConfigError(f"folder {folder}", f"is that of {held}", remedy)
    return True


def renew(folder: Path) -> None:
    """Have the folder's certificate signed anew; the key stays, so that one file is replaced.

    Raises:
        AuthorityError: if the authority refuses: the device was revoked, or the certificate has
            expired.
        AuthorityAwayError: if it does not answer.
        ConfigError: if the folder's files cannot be used.
        RunError: if they cannot be written.
    """
    facts = read(folder)
    key, place = _key(folder / KEY), Place.of(facts.server)
    authority = _text(folder / AUTHORITY)
    question = {"request": _request(key, facts.name)}
    shown = folder / CERTIFICATE, folder / KEY
    _keep(folder, place, key, ask(place, authority, "/v1/renew", question, shown))


def read(folder: Path) -> Facts:
    """Return what a folder's device was told when it enrolled.

    Raises:
        ConfigError: if it is no such folder.
    """
    try:
        return Facts.model_validate(atomic_files.read_json(folder / FACTS))
    except (OSError, ValueError) as error:  # a ValidationError is one
        remedy = "name the folder that edgeloop enroll wrote"
        raise ConfigError(f"folder {folder}", "has no identity of a device", remedy) from error


def completed(device: DeviceSettings, folder: Path) -> DeviceSettings:
    """Return a device's settings with the broker and the certificates that it enrolled for.

    What its file says of the broker itself stays.

    Raises:
        ConfigError: if the folder is another device's, or no such folder.
    """
    facts = read(folder)
    if (facts.task, facts.name) != (device.task, device.name):
        problem = f"is that of {facts.name} of {facts.task}"
        raise ConfigError("enrolment", problem, "give name and task as they were enrolled")
    return device.model_copy(update={"broker": connecting(facts, folder, device.broker)})


def connecting(facts: Facts, folder: Path, given: BrokerSettings) -> BrokerSettings:
    """Return how a device of a folder connects, and signs.

    Args:
        facts: of the folder.
        folder: with its key and certificates.
        given: what is set there counts before what the authority has said.

    Raises:
        ConfigError: if both together are no `[broker]` table.
    """
    names = {"ca_file": AUTHORITY, "certificate_file": CERTIFICATE, "key_file": KEY}
    told: dict[str, object] = {key: folder / name for key, name in names.items()}
    told["signatures"] = "required"
    told["revoked_files"] = (folder / REVOKED,)
    own = given.model_dump(include=given.model_fields_set)
    table = {"host": facts.broker_host, "port": facts.broker_port, **told, **own}
    return parse(table, BrokerSettings, "broker")


def fetch_revoked(folder: Path) -> None:
    """Write which services' certificates the authority has taken back by now.

    Raises:
        AuthorityError: if another authority answers.
        AuthorityAwayError: if it does not answer, or says nothing of that.
        ConfigError: if the folder's files cannot be used.
        RunError: if the list cannot be written.
    """
    place, authority = Place.of(read(folder).server), _text(folder / AUTHORITY)
    content = fetch(place, authority, "/v1/revoked/services")
    try:
        x509.load_pem_x509_crl(content)
    except ValueError as error:
        problem = "sends no list of revoked certificates"
        raise AuthorityAwayError(place.url, problem, "see its version and its log") from error
    path = folder / REVOKED
    with atomic_files.writing(folder):
        if not path.exists() or path.read_bytes() != content:
            atomic_files.write(path, content, 0o644)


def try_fetch_revoked(folder: Path) -> None:
    """Do as `fetch_revoked`, if that can be done now; the log says if not."""
    try:
        fetch_revoked(folder)
    except EdgeloopError as error:
        log.warning("not known which services' certificates hold no more: %s", error)


def renewal_due(folder: Path, now: datetime) -> bool:
    """Return whether half of the certificate's life is over.

    Raises:
        ConfigError: if it cannot be read.
    """
    dates = tls.validity(_text(folder / CERTIFICATE))
    if dates is None:
        raise ConfigError(str(folder / CERTIFICATE), "is no certificate", "enrol again")
    return now >= dates[0] + (dates[1] - dates[0]) / 2


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the device's key; it is made where there is none."""
    try:
        found = load_pem_private_key(path.read_bytes(), None)
        if isinstance(found, ec.EllipticCurvePrivateKey):
            return found
    except FileNotFoundError:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with atomic_files.writing(path.parent):
            atomic_files.write(path, pem, 0o600)
        return key
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "enrol again") from error
    raise ConfigError(str(path), "is no EC key", "enrol again, into a new folder")


def _request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def _keep(
    folder: Path, place: Place, key: ec.EllipticCurvePrivateKey, told: Mapping[str, Any]
) -> Facts:
    """Check what the authority has sent, and write it; the certificate last.

    Raises:
        RunError: if it is not what was asked for: nothing is written then.
    """
    try:
        certificate, authority = str(told["certificate"]), str(told["authority"])
        own = x509.load_pem_x509_certificate(certificate.encode())
        x509.load_pem_x509_certificate(authority.encode())
        known = {each: told[each] for each in Facts.model_fields if each != "server"}
        facts = Facts.model_validate({"server": place.url, **known})
        right = own.public_key() == key.public_key()
    except (KeyError, TypeError, ValueError) as error:
        problem = "sends what is no certificate of this device"
        raise RunError(place.url, problem, "see its version and its log") from error
    if not right:
        raise RunError(place.url, "sends a certificate of another key", "see its log")
    with atomic_files.writing(folder):
        atomic_files.write(folder / AUTHORITY, authority.encode(), 0o644)
        atomic_files.write_json(folder / FACTS, facts.model_dump(mode="json"), 0o644)
        atomic_files.write(folder / CERTIFICATE, certificate.encode(), 0o644)
    return facts


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "enrol again") from error
