"""Certificates of a release, made and renewed in the cluster: an authority, and what it signs."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import BaseModel, ConfigDict, Field

from cloud.authority import signing
from cloud.authority.identity import Identity

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
"""Keys of a secret, as Kubernetes and cert-manager have them."""

AUTHORITY_DAYS = 3650


class Wanted(BaseModel):
    """A certificate that a release wants.

    Attributes:
        secret: where it is kept.
        name: its common name.
        task: the task that a client has the rights of, its organizational unit; empty for none.
        hosts: that it is a server's for; none for a client's.
        addresses: the same, as addresses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: str
    name: Annotated[str, Field(min_length=1, max_length=64)]
    task: Annotated[str, Field(max_length=64)] = ""
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Release(BaseModel):
    """All certificates of a release.

    Attributes:
        authority: the secret with the authority that signs them.
        devices: the secret with another authority, of who enrols; None for none.
        access: the secret with tokens for the service that enrols devices; None for none.
        days: how long one holds; it is made anew when a third of that is left.
        certificates: them.
        labels: of the secrets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    authority: str
    devices: str | None = None
    access: str | None = None
    days: Annotated[int, Field(ge=1, le=3650)] = 90
    certificates: tuple[Wanted, ...]
    labels: Annotated[dict[str, str], Field(default_factory=dict)]


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


def new_authority(name: str, now: datetime) -> Pair:
    """Return an authority that signs itself."""
    key = signing.new_key()
    subject = Identity("", name).subject
    until = now + timedelta(days=AUTHORITY_DAYS)
    made = signing.unsigned(subject, subject, key.public_key(), now, until)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(signing.usage(signs=True), critical=True)
    return _pair(made.sign(key, hashes.SHA256()), key)


def signed(wanted: Wanted, authority: Pair, days: int, now: datetime) -> Pair:
    """Return a certificate that an authority signs."""
    issuer, signer = _read(authority.certificate), read_key(authority.key)
    key = signing.new_key()
    until = min(now + timedelta(days=days), issuer.not_valid_after_utc)
    subject = Identity(wanted.task, wanted.name).subject
    made = signing.unsigned(subject, issuer.subject, key.public_key(), now, until)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(signing.usage(signs=False), critical=True)
    made = made.add_extension(_issued_by(issuer), critical=False)  # which strict clients ask for
    names = _names(wanted)
    role = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
    made = made.add_extension(x509.ExtendedKeyUsage([role]), critical=False)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pair(made.sign(signer, hashes.SHA256()), key)


def must_be_made(
    held: Mapping[str, bytes] | None, wanted: Wanted, authority: Pair, now: datetime
) -> bool:
    """Return whether what a secret holds is not, or not for long, what is wanted."""
    if held is None or held.get(AUTHORITY) != authority.certificate or not held.get(KEY):
        return True
    try:
        found = _read(held[CERTIFICATE])
        found.verify_directly_issued_by(_read(authority.certificate))
        own = read_key(held[KEY]).public_key()
    except (KeyError, ValueError, TypeError, InvalidSignature):
        return True
    return (
        found.subject != Identity(wanted.task, wanted.name).subject
        or found.public_key() != own
        or _held_names(found) != set(_names(wanted))
        or renewed_at(held[CERTIFICATE]) < now
    )


def is_authority(pair: Pair) -> bool:
    """Return whether a certificate may sign others, and the key is its own."""
    try:
        found = _read(pair.certificate)
        limits = found.extensions.get_extension_for_class(x509.BasicConstraints).value
        return limits.ca and found.public_key() == read_key(pair.key).public_key()
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False


def renewed_at(certificate: bytes) -> datetime:
    """Return when a certificate, PEM, is to be made anew: with a third of its life left."""
    found = _read(certificate)
    whole = found.not_valid_after_utc - found.not_valid_before_utc
    return found.not_valid_after_utc - whole / 3


def _issued_by(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    kind = x509.SubjectKeyIdentifier
    try:
        known = issuer.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        known = kind.from_public_key(issuer.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(known)


def _names(wanted: Wanted) -> list[x509.GeneralName]:
    hosts: list[x509.GeneralName] = [x509.DNSName(each) for each in wanted.hosts]
    return hosts + [x509.IPAddress(ipaddress.ip_address(each)) for each in wanted.addresses]


def _held_names(found: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _read(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def read_key(pem: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """Return an authority's key: one of ours, or of a release before, which helm has made."""
    found = load_pem_private_key(pem, None)
    if not isinstance(found, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("is neither a key of an elliptic curve nor of RSA")
    return found


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), text)
