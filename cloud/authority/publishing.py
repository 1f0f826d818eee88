"""Keeps a broker's files true: who may what, and whose certificates are revoked."""

import fcntl
import logging
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from cloud.authority.authority import Authority, identities_of
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.mosquitto import RIGHTS
from cloud.authority.rights import mosquitto_acl
from cloud.authority.settings import AuthoritySettings
from cloud.authority.signing import pem
from edgeloop.runtime import atomic_files
from edgeloop.runtime.repeating import Repeated

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks at what has changed, by this process or another."""

REFRESH = timedelta(days=1)
"""After which a list of revoked certificates is signed anew: it holds for some days."""


def write(authority: Authority, folder: Path, prefix: str, trusted: Iterable[str] = ()) -> bool:
    """Write what a broker reads, where it has changed; tell whether anything has.

    A list is written with a later second than the one before, or OpenSSL would not take it.

    Raises:
        EdgeloopError: if the database or the folder is away.
    """
    with _alone(folder):
        changed = [_write_list(authority, folder, each) for each in (DEVICES, SERVICES)]
        admitted, services = identities_of(authority.admitted()), authority.services()
        text = mosquitto_acl(admitted, services, prefix, trusted)
        if _content(folder / RIGHTS) != text.encode():
            atomic_files.write(folder / RIGHTS, text.encode(), 0o640)
            changed.append(True)
    return any(changed)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from writing the same files: `ca serve` and a command may both do so.

    Raises:
        EdgeloopError: if the folder is away or cannot be written.
    """
    with atomic_files.writing(folder):
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            os.close(held)


def write_authorities(authority: Authority, folder: Path) -> None:
    """Write the certificates of both authorities: whom the broker's listeners trust."""
    with _alone(folder):
        for signer in (DEVICES, SERVICES):
            content = pem(authority.certificate(signer)).encode()
            atomic_files.write(folder / f"{signer}.crt", content, 0o644)


def _write_list(authority: Authority, folder: Path, signer: str) -> bool:
    path = folder / f"{signer}.crl"
    made, before = authority.revoked(signer), _list(path)
    if before is not None and _serials(before) == _serials(made):
        if made.last_update_utc - before.last_update_utc < REFRESH:
            return False
    elif before is not None and made.last_update_utc <= before.last_update_utc:
        return False  # within one second: the next look has a later one
    atomic_files.write(path, pem(made).encode(), 0o644)
    return True


def _list(path: Path) -> x509.CertificateRevocationList | None:
    content = _content(path)
    try:
        return None if content is None else x509.load_pem_x509_crl(content)
    except ValueError:  # damaged: written anew
        return None


def _serials(found: x509.CertificateRevocationList) -> Mapping[int, object]:
    return {each.serial_number: each.revocation_date_utc for each in found}


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def reload_broker(pid_file: Path) -> None:
    """Have Mosquitto read its files again; what is wrong is logged."""
    try:
        os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGHUP)
    except (OSError, ValueError) as error:
        text = "%s names no broker that can be told to read its files again (%s)"
        log.warning(text, pid_file, error)


def publisher(authority: Authority, folder: Path, settings: AuthoritySettings) -> Repeated:
    """Return what looks again and again at what has changed, and has the broker read it.

    Args:
        authority: whose.
        folder: the broker's.
        settings: the authority's.
    """
    pid_file = settings.broker_pid_file  # None where others have it read its files

    def publish() -> None:
        changed = write(authority, folder, settings.prefix, settings.trusted)
        if changed and pid_file is not None:
            reload_broker(pid_file)

    return Repeated(LOOK_SECONDS, publish, first=True)
