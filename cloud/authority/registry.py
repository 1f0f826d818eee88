"""Who is admitted, and which certificates were signed: rows, within a transaction of others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, delete, insert, select, update

from cloud.authority import tokens
from cloud.authority.database import as_utc
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.migrations import certificates, devices
from cloud.authority.tokens import Token
from edgeloop.errors import InputError


class DeniedError(InputError):
    """The authority does not sign this."""


@dataclass(frozen=True)
class Device:
    """A device that is admitted to a task, or was.

    Attributes:
        identity: its task and name.
        labels: of the token that it was admitted by.
        admitted: when.
        revoked: when it was revoked, if it was.
    """

    identity: Identity
    labels: Mapping[str, str]
    admitted: datetime
    revoked: datetime | None


@dataclass(frozen=True)
class Signed:
    """A certificate that was just signed.

    Attributes:
        identity: whom it names.
        certificate: itself.
        labels: the device's.
    """

    identity: Identity
    certificate: x509.Certificate
    labels: Mapping[str, str]


def row_of(connection: Connection, identity: Identity) -> Any:
    """Return a device's row; None if it was never admitted."""
    query = select(devices).filter_by(task=identity.task, name=identity.name)
    return connection.execute(query).first()


def all_devices(connection: Connection) -> list[Device]:
    """Return all devices that were ever admitted, by task and name."""
    query = select(devices).order_by(devices.c.task, devices.c.name)
    return [_known(row) for row in connection.execute(query)]


def _known(row: Any) -> Device:
    revoked = None if row.revoked is None else as_utc(row.revoked)
    identity = Identity(row.task, row.name)
    return Device(identity, json.loads(row.labels), as_utc(row.admitted), revoked)


def admit(
    connection: Connection, token: Token, identity: Identity, key: str, now: datetime
) -> None:
    """Write that a device is admitted; nothing where it asks by the same token and key again.

    Args:
        connection: within a transaction.
        token: that admits its name.
        identity: the device's.
        key: SHA-256 of its public key.
        now: the time.

    Raises:
        DeniedError: if the token is used up, or may not admit this device again.
    """
    row = row_of(connection, identity)
    if row is not None and row.revoked is None and (row.token, row.key) == (token.id, key):
        return
    if not tokens.use(connection, token):
        raise DeniedError(f"token {token.id}", "is used up", "ask for another one")
    labels = json.dumps(dict(token.admission.labels), sort_keys=True)
    facts = {"labels": labels, "token": token.id, "key": key, "admitted": now, "revoked": None}
    own = {"task": identity.task, "name": identity.name}
    if row is None:
        _check_alike(connection, identity)
        folded = identity.name.casefold()
        connection.execute(insert(devices).values(**own, folded=folded, **facts))
        return
    _check_again(row, token, identity)
    revoke_certificates(connection, DEVICES, identity, now)
    connection.execute(update(devices).filter_by(**own).values(**facts))


def _check_alike(connection: Connection, identity: Identity) -> None:
    """Refuse a name that differs from another device's in capitals only."""
    key = {"task": identity.task, "folded": identity.name.casefold()}
    other = connection.scalar(select(devices.c.name).filter_by(**key))
    if other is not None:
        problem = f"{identity.name} is {other} in other capitals"
        raise DeniedError("name", problem, "choose another one for the device")


def _check_again(row: Any, token: Token, identity: Identity) -> None:
    """Refuse to admit a device again by a token that was not made for that."""
    if not token.admission.is_for_one:
        problem = "is admitted already" if row.revoked is None else "was revoked"
        remedy = f"have a token made that names {identity.name}"
        raise DeniedError(str(identity), problem, remedy)
    if row.revoked is not None and token.created <= as_utc(row.revoked):
        problem = f"is older than the revocation of {identity}"
        raise DeniedError(f"token {token.id}", problem, "ask for another one")


def holder(
    connection: Connection, shown: x509.Certificate, identity: Identity, now: datetime
) -> Any:
    """Return the row of the device that a certificate names.

    Raises:
        DeniedError: if the certificate does not hold, or the device was revoked.
    """
    serial = hexadecimal(shown.serial_number)
    known = connection.execute(select(certificates).filter_by(serial=serial)).first()
    row = row_of(connection, identity)
    if known is None or row is None:
        raise DeniedError("the certificate", "is not known here", "enrol again by a token")
    if known.revoked is not None or row.revoked is not None:
        raise DeniedError(str(identity), "was revoked", "enrol again by a token")
    if now >= as_utc(known.expires):
        raise DeniedError(str(identity), "has expired", "enrol again by a token")
    return row


def renewed(connection: Connection, identity: Identity, key: str) -> None:
    """Write which key a device has by now."""
    of_device = update(devices).filter_by(task=identity.task, name=identity.name)
    connection.execute(of_device.values(key=key))


def revoke(connection: Connection, identity: Identity, now: datetime) -> None:
    """Write that a device is revoked, and all its certificates with it."""
    of_device = update(devices).filter_by(task=identity.task, name=identity.name)
    connection.execute(of_device.values(revoked=now))
    revoke_certificates(connection, DEVICES, identity, now)


def revoke_certificates(
    connection: Connection, signer: str, identity: Identity, now: datetime
) -> int:
    """Revoke what a holder has that would hold still; return how many that were."""
    own = {"signer": signer, "task": identity.task, "name": identity.name}
    hold = update(certificates).filter_by(**own)
    hold = hold.where(certificates.c.revoked.is_(None), certificates.c.expires > now)
    return connection.execute(hold.values(revoked=now)).rowcount


def write_certificate(
    connection: Connection, signer: str, identity: Identity, signed: x509.Certificate, now: datetime
) -> None:
    """Write which certificate was signed; forget the holder's that expired a while ago."""
    own = {"signer": signer, "task": identity.task, "name": identity.name}
    until = signed.not_valid_after_utc
    old = delete(certificates).filter_by(**own)
    connection.execute(old.where(certificates.c.expires < now - (until - now)))
    serial = hexadecimal(signed.serial_number)
    connection.execute(insert(certificates).values(**own, serial=serial, issued=now, expires=until))


def revoked_serials(
    connection: Connection, signer: str, now: datetime
) -> list[tuple[int, datetime]]:
    """Return the certificates that were revoked and would hold still, and since when."""
    c = certificates.c
    query = select(c.serial, c.revoked)
    query = query.where(c.signer == signer, c.revoked.is_not(None), c.expires > now)
    return [(int(r.serial, 16), as_utc(r.revoked)) for r in connection.execute(query)]


def holds(
    connection: Connection, shown: x509.Certificate, now: datetime, *, others: bool = False
) -> bool:
    """Return whether a certificate is known, and neither revoked nor expired.

    Args:
        connection: within a transaction.
        shown: that an authority of this one's keys has signed.
        now: the time.
        others: whether one that is not known holds, too, as long as its dates say.
    """
    serial = hexadecimal(shown.serial_number)
    known = connection.execute(select(certificates).filter_by(serial=serial)).first()
    if known is None:
        return others and shown.not_valid_before_utc <= now < shown.not_valid_after_utc
    return known.revoked is None and now < as_utc(known.expires)


def services(connection: Connection, now: datetime) -> list[Identity]:
    """Return the services that have a certificate that holds."""
    c = certificates.c
    holds = (c.signer == SERVICES) & (c.expires > now) & c.revoked.is_(None)
    query = select(c.task, c.name).where(holds).distinct().order_by(c.task, c.name)
    return [Identity(row.task, row.name) for row in connection.execute(query)]


def hexadecimal(serial: int) -> str:
    """Return a serial number as it is kept."""
    return f"{serial:040x}"
