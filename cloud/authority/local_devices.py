"""Devices on the authority's own machine: admitted and renewed without a question over HTTP."""

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.authority import keys
from cloud.authority.authority import Authority, utc
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.signing import make_request, new_key, pem
from cloud.authority.tokens import Admission
from edgeloop.runtime import atomic_files

KEY, CERTIFICATE, AUTHORITY = "device.key", "device.crt", "ca.crt"
"""The files of a device's folder, as `edgeloop enroll` writes them."""

HERE = "this machine"


def admit_if_due(authority: Authority, identity: Identity, folder: Path) -> None:
    """Admit a device, or renew its certificate when half of its life is over.

    Whom an operator has revoked stays out.

    Args:
        authority: at work.
        identity: the device's.
        folder: for its key and certificates; made if it is not there.

    Raises:
        ConfigError: if its name is one that no device may have, or a file cannot be read.
        DeniedError: if another device has nearly the same name.
        RunError: if the folder cannot be written.
    """
    known = {each.identity: each for each in authority.admitted()}.get(identity)
    held = _held(authority, folder)
    if known is not None and known.revoked is not None:
        return
    if held is not None and not _is_due(held, utc()):
        return
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / KEY).exists():
        keys.write_key(folder / KEY, new_key())
    request = make_request(identity.name, keys.read_key(folder / KEY))
    if held is not None and known is not None and utc() < held.not_valid_after_utc:
        signed = authority.renew(held.public_bytes(Encoding.DER), request, HERE)
    else:
        admission = Admission(identity.task, identity.name)
        ((_, token),) = authority.make_tokens([admission], HERE)
        signed = authority.enrol(token, request, HERE)
    with atomic_files.writing(folder):
        trusted = pem(authority.certificate(SERVICES))
        atomic_files.write(folder / AUTHORITY, trusted.encode(), 0o644)
        atomic_files.write(folder / CERTIFICATE, pem(signed.certificate).encode(), 0o644)


def _held(authority: Authority, folder: Path) -> x509.Certificate | None:
    """Return the certificate in a folder; None if there is none of this authority."""
    if not keys.fits(folder / CERTIFICATE, folder / KEY):
        return None
    held = keys.read_certificate(folder / CERTIFICATE)
    ours = held.issuer == authority.certificate(DEVICES).subject
    return held if ours else None


def _is_due(held: x509.Certificate, now: datetime) -> bool:
    life = held.not_valid_after_utc - held.not_valid_before_utc
    return now >= held.not_valid_before_utc + life / 2
