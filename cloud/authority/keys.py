"""An authority's folder: its two keys, 0600 or encrypted, and their certificates."""

import os
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud.authority.signing import Key, Signer, make_authority
from edgeloop.errors import ConfigError, TakenError
from edgeloop.runtime import atomic_files

DEVICES, SERVICES = "devices", "services"
"""The two authorities, by whom they sign."""

_ORDER = (SERVICES, DEVICES)
"""In which they are written: who has the certificate of the last has all of them."""

_UNFINISHED = ".unfinished"
"""In the folder while an authority is being made there."""


def make(folder: Path, passphrase: str | None, now: datetime) -> dict[str, Signer]:
    """Make both authorities in a folder.

    Args:
        folder: made, for its user alone, if it is not there.
        passphrase: that the keys are encrypted with; None for plain keys, 0600.
        now: the time.

    Raises:
        TakenError: if there is an authority already: nothing is written over one.
        RunError: if the folder cannot be written.
    """
    check_free(folder)
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_files.write(folder / _UNFINISHED, b"")
        made = {
            name: make_authority(f"edgeloop {name} {os.urandom(4).hex()}", now) for name in _ORDER
        }
        for name, signer in made.items():
            write_key(folder / f"{name}.key", signer.key, passphrase)
            pem = signer.certificate.public_bytes(Encoding.PEM)
            atomic_files.write(folder / f"{name}.crt", pem, 0o644)
        (folder / _UNFINISHED).unlink()
    return made


def check_free(folder: Path) -> None:
    """Refuse a folder with an authority in it; what was killed as it was being made is none.

    Raises:
        TakenError: naming the first file of it.
    """
    if (folder / _UNFINISHED).exists() and not (folder / f"{_ORDER[-1]}.crt").exists():
        return
    for path in (folder / f"{name}.{end}" for name in _ORDER for end in ("key", "crt")):
        if path.exists():
            remedy = "name another folder; an authority is never made again"
            raise TakenError(str(path), "is there already", remedy)


def write_key(path: Path, key: Key, passphrase: str | None = None) -> None:
    """Write a private key for its user alone."""
    how: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        how = BestAvailableEncryption(passphrase.encode())
    atomic_files.write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how), 0o600)


def read(folder: Path, name: str, passphrase: str | None) -> Signer:
    """Read one of the authorities.

    Raises:
        ConfigError: if it is not there, or not whole, or the passphrase is another.
    """
    key = read_key(folder / f"{name}.key", passphrase)
    certificate = read_certificate(folder / f"{name}.crt")
    if certificate.public_key() != key.public_key():
        problem = f"is not the key of {name}.crt"
        raise ConfigError(str(folder / f"{name}.key"), problem, "restore both from one backup")
    return Signer(certificate, key)


def read_key(path: Path, passphrase: str | None = None) -> Key:
    """Read an EC private key.

    Raises:
        ConfigError: if there is none that can be read, or others may read it.
    """
    content = _content(path, "edgeloop ca init makes one")
    if _others_read(path):
        raise ConfigError(str(path), "may be read by others", f"chmod 600 {path}")
    secret = None if passphrase is None else passphrase.encode()
    try:
        key = load_pem_private_key(content, secret)
    except TypeError as error:  # encrypted and no passphrase, or the other way round
        encrypted = b"ENCRYPTED" in content
        problem = "is encrypted" if encrypted else "is not encrypted"
        remedy = "give passphrase_file" if encrypted else "leave passphrase_file out"
        raise ConfigError(str(path), problem, remedy) from error
    except ValueError as error:
        problem = "cannot be read: damaged, or with another passphrase"
        raise ConfigError(str(path), problem, "restore it from a backup") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(str(path), "is no EC key", "give an EC P-256 key")
    return key


def _others_read(path: Path) -> bool:
    """Return whether a key is not its user's alone.

    What Kubernetes mounts is root's, and read by the pod's group, whatever mode was asked for.
    """
    about = path.stat()
    mounted = about.st_uid == 0 and os.geteuid() != 0
    return bool(about.st_mode & (0o037 if mounted else 0o077))


def fits(certificate: Path, key: Path) -> bool:
    """Return whether both files are there, and belong together: a crash comes between two.

    Raises:
        ConfigError: if one is there and cannot be read.
    """
    if not certificate.exists() or not key.exists():
        return False
    return read_certificate(certificate).public_key() == read_key(key).public_key()


def read_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a file.

    Raises:
        ConfigError: if there is none that can be read.
    """
    content = _content(path, "edgeloop ca init makes one")
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise ConfigError(str(path), "holds no certificate", "restore it from a backup") from error


def _content(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})", remedy) from error
