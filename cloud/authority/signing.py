"""What is signed: certificates and lists of revoked ones. No clock, no file.

There are two authorities, each one certificate without intermediates: one signs devices, one signs
services (the broker, aggregators, this service). So a device's certificate is never a server's, and
a listener that trusts the one lets nobody of the other in. A list of revoked certificates then has
one signer, which is what Mosquitto looks at.
"""

import hashlib
import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeloop.errors import ConfigError

BACKDATED = timedelta(minutes=5)
"""Of a certificate: clocks that are a little late take it at once."""

AUTHORITY_LIFE = timedelta(days=3653)

MOST_REQUEST_BYTES = 16 * 1024
_LEAST_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1)

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Signer:
    """An authority: its certificate and key.

    Attributes:
        certificate: self-signed.
        key: EC P-256.
    """

    certificate: x509.Certificate
    key: Key

    def sign(
        self,
        subject: x509.Name,
        key: PublicKey,
        hosts: Sequence[str],
        since: datetime,
        life: timedelta,
    ) -> x509.Certificate:
        """Sign a certificate.

        Args:
            subject: whom it names.
            key: its holder's.
            hosts: names and addresses of a server; none for a client.
            since: when it is signed.
            life: for how long it holds from then on; never longer than the authority's own.
        """
        until = min(since + life, self.certificate.not_valid_after_utc)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if hosts:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            unsigned(subject, self.certificate.subject, key, since, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(_alternatives(subject, hosts), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        return builder.sign(self.key, SHA256())

    def revoked(
        self, serials: Collection[tuple[int, datetime]], now: datetime, life: timedelta
    ) -> x509.CertificateRevocationList:
        """Sign the list of revoked certificates, which holds so long."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + life)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        for serial, when in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, SHA256())


def make_authority(name: str, now: datetime) -> Signer:
    """Make a new authority, with a key of its own."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        unsigned(subject, subject, key.public_key(), now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
    )
    return Signer(builder.sign(key, SHA256()), key)


def unsigned(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    """Return a certificate to be added to and signed: of a subject's key, between two times."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def usage(*, signs: bool) -> x509.KeyUsage:
    """Return what a key is for: to sign certificates, or to say who one is."""
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def new_key() -> Key:
    """Make a private key: EC P-256, which every device signs with in milliseconds."""
    return ec.generate_private_key(ec.SECP256R1())


def read_request(text: bytes) -> tuple[str, PublicKey]:
    """Return the name and the key of a certificate signing request, PEM.

    All else that it asks for is ignored: the authority says what a certificate holds.

    Raises:
        ConfigError: if it is none, or its key is too weak, or not its sender's.
    """
    field = "the certificate signing request"
    if len(text) > MOST_REQUEST_BYTES:
        raise ConfigError(field, f"has more than {MOST_REQUEST_BYTES} bytes", "send a plain one")
    try:
        request = x509.load_pem_x509_csr(text)
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key, signed = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise ConfigError(field, "cannot be read", "send a PKCS #10 request, PEM") from error
    if not signed:
        raise ConfigError(field, "is not signed by its own key", "sign it by the device's key")
    if len(names) != 1:
        raise ConfigError(field, "has no common name, or several", "put the device's name there")
    return str(names[0].value), _strong(key, field)


def _strong(key: object, field: str) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and _LEAST_RSA_BITS <= key.key_size <= 4 * _LEAST_RSA_BITS:
        return key
    raise ConfigError(
        field, "has a key of another kind", "use EC P-256 or P-384, or RSA of 2048 bits"
    )


def make_request(name: str, key: Key) -> bytes:
    """Return a certificate signing request, PEM, as a device makes it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def key_digest(key: PublicKey) -> str:
    """Return the SHA-256 of a public key, hexadecimal."""
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def fingerprint(certificate: x509.Certificate) -> str:
    """Return a certificate's SHA-256, hexadecimal."""
    return certificate.fingerprint(SHA256()).hex()


def pem(certificate: x509.Certificate | x509.CertificateRevocationList) -> str:
    """Return a certificate, or a list of revoked ones, as PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()


def _alternatives(subject: x509.Name, hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    """Return a server's addresses, or a client's identity as a URI."""
    if hosts:
        return x509.SubjectAlternativeName([_host(each) for each in hosts])
    values = [str(each.value) for each in subject]
    return x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("urn:edgeloop:" + ":".join(values))]
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
