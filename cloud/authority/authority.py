"""Admits devices by tokens, renews their certificates, revokes them; each act is written down."""

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from sqlalchemy import Connection

from cloud.authority import auditing, registry, signing, tokens
from cloud.authority.database import Database
from cloud.authority.identity import SERVICES as SERVICE_NAMES
from cloud.authority.identity import Identity, check_name, check_task, of_certificate
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.registry import DeniedError as DeniedError
from cloud.authority.registry import Device, Signed
from cloud.authority.signing import PublicKey, Signer
from cloud.authority.tokens import Admission, Token
from edgeloop.errors import ConfigError
from edgeloop.runtime.pace import LogRateLimiter

LIFE = timedelta(days=7)
"""Of a device's certificate."""

LIST_LIFE = timedelta(days=7)
"""Of a list of revoked certificates; it is made anew long before."""

REFUSALS = 100
"""That are written down within a minute, of each kind."""

log = logging.getLogger(__name__)


def utc() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


class Authority:
    """An authority at work; any thread may call it, and other processes may be at work beside it.

    Args:
        database: where it is written who was admitted.
        signers: by `DEVICES` and `SERVICES`; an authority may be without the second.
        life: of a device's certificate.
        now: the clock.
        others: whether others sign services with the same key.

    All methods raise StorageError if the database is away for now, RunError if it is damaged.
    """

    def __init__(
        self,
        database: Database,
        signers: Mapping[str, Signer],
        life: timedelta = LIFE,
        now: Callable[[], datetime] = utc,
        *,
        others: bool = False,
    ) -> None:
        self._database, self._signers = database, signers
        self._life, self._now, self._others = life, now, others
        self._refusals = LogRateLimiter(most=REFUSALS)

    # ---- what operators do

    def make_tokens(self, admissions: Sequence[Admission], actor: str) -> list[tuple[str, str]]:
        """Make a token for each admission, or none at all; return their ids and texts.

        Raises:
            ConfigError: if one would admit nobody, or more than was meant.
        """
        now = self._now()
        with self._database.writing() as connection:
            made = []
            for each in admissions:
                made.append(tokens.make(connection, each, now))
                subject, detail = f"{each.names} of {each.task}", f"token {made[-1][0]}"
                auditing.note(connection, now, actor, "make token", subject, detail=detail)
        return made

    def revoke_token(self, token: str, actor: str) -> None:
        """Take a token back; whom it has admitted stays.

        Raises:
            ConfigError: if there is none of that id.
        """
        now = self._now()
        with self._database.writing() as connection:
            if not tokens.revoke(connection, token, now):
                remedy = "see edgeloop ca tokens --list"
                raise ConfigError("--revoke", f"no token has the id {token}", remedy)
            auditing.note(connection, now, actor, "revoke token", token)

    def revoke(self, identity: Identity, actor: str) -> None:
        """Revoke a device: all its certificates, and its right to renew them. Again is no error.

        Raises:
            ConfigError: if no such device was ever admitted.
        """
        now = self._now()
        with self._database.writing() as connection:
            row = registry.row_of(connection, identity)
            if row is None:
                problem = f"{identity} was never admitted"
                raise ConfigError("name", problem, "see edgeloop ca devices")
            if row.revoked is None:
                registry.revoke(connection, identity, now)
                auditing.note(connection, now, actor, "revoke", str(identity))

    def issue_service(
        self, identity: Identity, key: PublicKey, hosts: Sequence[str], life: timedelta, actor: str
    ) -> x509.Certificate:
        """Sign the certificate of a service: the broker, an aggregator, this one.

        Raises:
            ConfigError: if there is no such service.
        """
        if identity.name not in SERVICE_NAMES:
            remedy = f"choose one of {', '.join(SERVICE_NAMES)}"
            raise ConfigError("name", f"{identity.name} is no service", remedy)
        if identity.task:
            check_task("--task", identity.task)
        now = self._now()
        with self._database.writing() as connection:
            signed = self._sign(connection, SERVICES, identity, key, hosts, life)
            auditing.note(connection, now, actor, "issue", str(identity), detail=_dates(signed))
        return signed

    def revoke_service(self, identity: Identity, actor: str) -> None:
        """Revoke all certificates of a service.

        Raises:
            ConfigError: if it has none that holds.
        """
        now = self._now()
        with self._database.writing() as connection:
            if not registry.revoke_certificates(connection, SERVICES, identity, now):
                problem = f"{identity} has no certificate that holds"
                raise ConfigError("name", problem, "name a service, and its task")
            auditing.note(connection, now, actor, "revoke", str(identity))

    # ---- what devices ask

    def enrol(self, token: str, request: bytes, address: str) -> Signed:
        """Admit a device by a token, and sign its first certificate.

        The same device may ask again by the same token and key, where the answer was lost.

        Args:
            token: as the operator was given it.
            request: a certificate signing request, PEM, with the device's name.
            address: of who asks, for the record.

        Raises:
            DeniedError: if the token does not admit the device.
            ConfigError: if the request is none, or its name is one that no device may have.
        """
        with self._recorded("enrol", address):
            name, key = signing.read_request(request)
            check_name("name", name)
            with self._database.writing() as connection:
                found = self._token(connection, token, name)
                identity = Identity(found.admission.task, name)
                digest = signing.key_digest(key)
                registry.admit(connection, found, identity, digest, self._now())
                signed = self._sign(connection, DEVICES, identity, key, (), self._life)
                actor, detail = f"token {found.id} at {address}", _dates(signed)
                auditing.note(connection, self._now(), actor, "enrol", str(identity), detail=detail)
        return Signed(identity, signed, found.admission.labels)

    def renew(self, certificate: bytes, request: bytes, address: str) -> Signed:
        """Sign a device's next certificate, while the one that it shows still holds.

        Args:
            certificate: that the device has shown in TLS, DER.
            request: as `enrol`'s, with the same name.
            address: of who asks, for the record.

        Raises:
            DeniedError: if the certificate is not one of this authority's that holds.
            ConfigError: if the request is none.
        """
        with self._recorded("renew", address):
            name, key = signing.read_request(request)
            shown = self._own(certificate)
            identity = of_certificate(shown) or Identity("", "")
            with self._database.writing() as connection:
                row = registry.holder(connection, shown, identity, self._now())
                if name != identity.name:
                    problem = f"asks for {name[:80]!r}, and the certificate is {identity}'s"
                    raise DeniedError("the request", problem, "ask for the same name")
                signed = self._sign(connection, DEVICES, identity, key, (), self._life)
                registry.renewed(connection, identity, signing.key_digest(key))
                actor, detail = f"{identity} at {address}", _dates(signed)
                auditing.note(connection, self._now(), actor, "renew", str(identity), detail=detail)
        return Signed(identity, signed, json.loads(row.labels))

    # ---- what others read

    def admitted(self) -> list[Device]:
        """Return all devices that were ever admitted, by task and name."""
        with self._database.reading() as connection:
            return registry.all_devices(connection)

    def tokens(self) -> Sequence[Token]:
        """Return all tokens, the oldest first; their texts are kept nowhere."""
        with self._database.reading() as connection:
            return tokens.listed(connection)

    def services(self) -> list[Identity]:
        """Return the services that have a certificate that holds."""
        with self._database.reading() as connection:
            return registry.services(connection, self._now())

    def audit(self, most: int) -> Sequence[auditing.Entry]:
        """Return the newest acts, the last first."""
        with self._database.reading() as connection:
            return auditing.newest(connection, most)

    def revoked(self, signer: str) -> x509.CertificateRevocationList:
        """Return the list of certificates that were revoked and would hold still."""
        now = self._now()
        with self._database.reading() as connection:
            rows = registry.revoked_serials(connection, signer, now)
        return self._signers[signer].revoked(rows, now, LIST_LIFE)

    def note_refusal(self, actor: str, act: str, subject: str, why: str) -> None:
        """Write down what was refused, unless there is so much of it that it would fill a disk."""
        if self._refusals.allowed(act):
            now = self._now()
            with self._database.writing() as connection:
                auditing.note(connection, now, actor, act, subject, outcome="refused", detail=why)

    def service_of(self, der: bytes) -> Identity | None:
        """Return the service whose certificate this is; None if it holds no more, or is none."""
        try:
            shown = x509.load_der_x509_certificate(der)
            shown.verify_directly_issued_by(self.certificate(SERVICES))
        except (ValueError, TypeError, InvalidSignature):
            return None
        with self._database.reading() as connection:
            holds = registry.holds(connection, shown, self._now(), others=self._others)
        return of_certificate(shown) if holds else None

    def certificate(self, signer: str) -> x509.Certificate:
        """Return the certificate of one of the two authorities."""
        return self._signers[signer].certificate

    # ---- within

    @contextmanager
    def _recorded(self, act: str, address: str) -> Iterator[None]:
        """Write down what is refused, too: in a transaction of its own."""
        try:
            yield
        except (DeniedError, ConfigError) as error:
            log.warning("refused to %s for %s: %s", act, address, error)
            self.note_refusal(address, act, error.field, error.problem)
            raise

    def _token(self, connection: Connection, text: str, name: str) -> Token:
        token = tokens.find(connection, text)
        if token is None:
            raise DeniedError("the token", "is none of this authority's", "ask for another one")
        obstacle = token.obstacle(self._now())
        if obstacle is not None:
            raise DeniedError(f"token {token.id}", obstacle, "ask for another one")
        if not token.admits(name):
            problem = f"does not admit {name}"
            raise DeniedError(f"token {token.id}", problem, "give the name that it was made for")
        return token

    def _own(self, der: bytes) -> x509.Certificate:
        """Return a certificate that the authority of devices has signed, whatever its dates.

        Raises:
            DeniedError: if it is another's, or none.
        """
        try:
            certificate = x509.load_der_x509_certificate(der)
            certificate.verify_directly_issued_by(self.certificate(DEVICES))
        except (ValueError, TypeError, InvalidSignature) as error:
            remedy = "renew with the certificate that edgeloop enroll wrote"
            raise DeniedError("the certificate", "is no device's", remedy) from error
        return certificate

    def _sign(
        self,
        connection: Connection,
        signer: str,
        identity: Identity,
        key: PublicKey,
        hosts: Sequence[str],
        life: timedelta,
    ) -> x509.Certificate:
        """Sign a certificate, and write it down."""
        now = self._now()
        signed = self._signers[signer].sign(identity.subject, key, hosts, now, life)
        registry.write_certificate(connection, signer, identity, signed, now)
        return signed


def _dates(certificate: x509.Certificate) -> str:
    serial, until = certificate.serial_number, certificate.not_valid_after_utc
    return f"certificate {registry.hexadecimal(serial)} until {until:%Y-%m-%d %H:%M} UTC"


def identities_of(found: Collection[Device]) -> list[Identity]:
    """Return the identities of those who are admitted now."""
    return [each.identity for each in found if each.revoked is None]
