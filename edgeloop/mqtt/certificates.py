"""Certificates of those who sign messages: whom they name, and who has signed them."""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeloop.errors import BrokerSetupError
from edgeloop.protocol.signatures import LONGEST, Signer

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
T = TypeVar("T")


@dataclass
class WatchedFile(Generic[T]):
    """A file that is read again when it has changed; what cannot be read leaves what was.

    Attributes:
        path: of the file.
        read: makes something of its bytes; raises ValueError or TypeError if it cannot.
        number: how often it was read.
    """

    path: Path
    read: Callable[[bytes], T]
    number: int = 0
    _state: tuple[int, int, int] = (0, 0, 0)
    _found: list[T] = field(default_factory=list)

    def now(self) -> T | None:
        """Return what the file holds; None if it never could be read."""
        try:
            about = self.path.stat()
            state = about.st_mtime_ns, about.st_size, about.st_ino
            if state != self._state:
                self._found = [self.read(self.path.read_bytes())]
                self._state, self.number = state, self.number + 1
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):  # half replaced, perhaps
            pass
        return self._found[0] if self._found else None

    def first(self, key: str, remedy: str) -> T:
        """Return what the file holds.

        Raises:
            BrokerSetupError: naming the key of `[broker]`, if it cannot be read.
        """
        if (found := self.now()) is None:
            problem = f"{self.path} cannot be used"
            raise BrokerSetupError(f"broker.{key}", problem, remedy)
        return found


@dataclass(frozen=True)
class Known:
    """A certificate that an authority has signed.

    Attributes:
        signer: whom it names.
        key: its holder's.
        issuer: the authority's subject, DER.
        serial: its number at the authority.
        since: from when on it holds.
        until: likewise.
    """

    signer: Signer
    key: PublicKey
    issuer: bytes
    serial: int
    since: datetime
    until: datetime

    def fits(self, value: bytes, said: bytes) -> bool:
        """Return whether a signature by its key is of these bytes."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(value, said, PKCS1v15(), SHA256())
            else:
                self.key.verify(value, said, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


def read_all(pem: bytes) -> Sequence[x509.Certificate]:
    """Return the certificates in a PEM text."""
    return x509.load_pem_x509_certificates(pem)


def read_lists(pem: bytes) -> Sequence[x509.CertificateRevocationList]:
    """Return the lists of revoked certificates in a PEM text.

    Raises:
        ValueError: if there is none.
    """
    end = b"-----END X509 CRL-----"
    parts = [part + end for part in pem.split(end)[:-1]]
    if not parts:
        raise ValueError("no list of revoked certificates")
    return [x509.load_pem_x509_crl(part.strip()) for part in parts]


def read_key(pem: bytes) -> PrivateKey:
    """Return a private key that can sign.

    Raises:
        ValueError: if it is none.
    """
    found = load_pem_private_key(pem, None)
    if isinstance(found, PrivateKey):
        return found
    raise ValueError("neither an EC key nor an RSA key")


def sign(key: PrivateKey, said: bytes) -> bytes:
    """Return a key's signature of some bytes."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(said, PKCS1v15(), SHA256())
    return key.sign(said, ec.ECDSA(SHA256()))


def key_id(key: PublicKey) -> str:
    """Return what a signature calls its key."""
    summed = Hash(SHA256())
    summed.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return summed.finalize().hex()[:32]


def as_text(certificate: x509.Certificate) -> str:
    """Return a certificate as a user property's value."""
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def of_text(text: str) -> x509.Certificate | None:
    """Return the certificate in a user property; None if it is none."""
    try:
        return x509.load_der_x509_certificate(base64.b64decode(text[:LONGEST], validate=True))
    except (ValueError, binascii.Error):
        return None


def issued_by(
    certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> x509.Certificate | None:
    """Return which of some authorities has signed a client's certificate; None if none has."""
    for each in authorities:
        try:
            certificate.verify_directly_issued_by(each)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return each if _is_a_clients(certificate) else None
    return None


def _is_a_clients(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is for who connects and signs, and for no authority."""
    try:
        extensions = certificate.extensions
        limits = extensions.get_extension_for_class(x509.BasicConstraints).value
        uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    return not limits.ca and ExtendedKeyUsageOID.CLIENT_AUTH in uses


def known(certificate: x509.Certificate, is_service: bool) -> Known | None:
    """Return what a certificate says; None if it names nobody, or has a key of another kind.

    Args:
        certificate: that an authority has signed.
        is_service: whether that is the authority of services.
    """
    subject, key = certificate.subject, certificate.public_key()
    units = subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or len(units) > 1 or not isinstance(key, PublicKey):
        return None
    task = str(units[0].value) if units else ""
    return Known(
        Signer(task, str(names[0].value), is_service),
        key,
        certificate.issuer.public_bytes(),
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )
