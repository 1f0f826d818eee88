"""Runs an authority: HTTPS for devices and operators, and the broker's files kept true."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

from cryptography import x509

from cloud.authority import keys, publishing
from cloud.authority.authority import Authority, utc
from cloud.authority.database import Database
from cloud.authority.http import app, needed, services_read
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.settings import FILE, AuthoritySettings
from cloud.authority.signing import fingerprint, new_key, pem
from cloud.http.access import Guard, Rules, Tokens, allowed_hosts
from cloud.http.server import Server
from edgeloop.runtime import atomic_files
from edgeloop.runtime import config as config_files
from edgeloop.runtime.repeating import Repeated

log = logging.getLogger(__name__)

OWN = Identity("", "authority")
LOOK_SECONDS = 3600.0
"""Between two looks at whether the authority's own certificate is to be renewed."""


def read_settings(folder: Path) -> AuthoritySettings:
    """Read an authority's settings.

    Raises:
        ConfigError: if there is none, or a key or a value is wrong.
    """
    return config_files.read(folder / FILE, AuthoritySettings)


@contextmanager
def opened(folder: Path) -> Iterator[tuple[Authority, AuthoritySettings]]:
    """Open the authority of a folder; a service and commands may have it at the same time.

    Raises:
        ConfigError: if there is none, or a key cannot be read.
        RunError: if its database cannot be used.
        StorageError: if its database is away for now.
    """
    settings = read_settings(folder)
    passphrase = settings.passphrase()
    signers = {each: keys.read(folder, each, passphrase) for each in (DEVICES, SERVICES)}
    with closing(Database(settings.database(folder))) as database:
        others = settings.signed_elsewhere
        yield Authority(database, signers, settings.life, others=others), settings


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Serve an authority while a block runs.

    Raises:
        ConfigError: if a setting is wrong.
        TakenError: if another process listens on the port.
    """
    with opened(folder) as (authority, settings), ExitStack() as stack:
        published = stack.enter_context(_publishing(authority, folder, settings))
        tls = _context(authority, folder, settings)
        tokens, hosts = Tokens(settings.tokens_file), allowed_hosts(settings.hosts)
        rules = Rules(
            needed, tokens, hosts, partial(services_read, authority), authority.note_refusal
        )
        guarded = Guard(app(authority, settings, published.wake), rules)
        server = Server(guarded, settings.listen, settings.port, tls)
        server.start()
        stack.callback(server.stop)
        log.info("devices enrol at https://%s:%d", settings.hosts[0], server.port)
        log.info("its fingerprint is sha256:%s", fingerprint(authority.certificate(SERVICES)))
        renewing = Repeated(LOOK_SECONDS, lambda: _renew(authority, folder, settings, tls))
        stack.enter_context(renewing)
        yield server


def _renew(
    authority: Authority, folder: Path, settings: AuthoritySettings, tls: ssl.SSLContext
) -> None:
    _renew_own(authority, folder, settings)
    _load(tls, folder)


def _publishing(authority: Authority, folder: Path, settings: AuthoritySettings) -> Repeated:
    place = settings.broker_folder or folder / "broker"
    with atomic_files.writing(place):
        place.mkdir(parents=True, exist_ok=True)
    publishing.write_authorities(authority, place)
    return publishing.publisher(authority, place, settings)


def _context(authority: Authority, folder: Path, settings: AuthoritySettings) -> ssl.SSLContext:
    """Return TLS of a server that asks for a certificate, and does without."""
    _renew_own(authority, folder, settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    for signer in (DEVICES, SERVICES):
        context.load_verify_locations(cadata=pem(authority.certificate(signer)))
    _load(context, folder)
    return context


def _load(context: ssl.SSLContext, folder: Path) -> None:
    context.load_cert_chain(folder / "authority.crt", folder / "authority.key")


def _renew_own(authority: Authority, folder: Path, settings: AuthoritySettings) -> None:
    """Sign the authority's own certificate, unless half of its life is to come."""
    issue_if_due(authority, OWN, settings.hosts, settings, folder)


def issue_if_due(
    authority: Authority,
    identity: Identity,
    hosts: tuple[str, ...],
    settings: AuthoritySettings,
    folder: Path,
) -> bool:
    """Make a service's certificate where there is none that has half of its life to come.

    Returns:
        whether one was made.

    Raises:
        ConfigError: if the one that is there cannot be read.
        RunError: if the folder cannot be written.
    """
    path = folder / f"{identity.name}.crt"
    if path.exists() and keys.fits(path, path.with_suffix(".key")):
        held = keys.read_certificate(path)
        left = held.not_valid_after_utc - utc()
        if left > settings.service_life / 2 and _serves(held, hosts, authority):
            return False
    issue(authority, identity, hosts, settings.service_life, folder, "authority")
    return True


def _serves(held: x509.Certificate, hosts: tuple[str, ...], authority: Authority) -> bool:
    """Return whether a certificate is this authority's, and has all hosts that it is to have."""
    if held.issuer != authority.certificate(SERVICES).subject:
        return False
    if not hosts:
        return True
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(each.value) for each in names} == set(hosts)


def issue(
    authority: Authority,
    identity: Identity,
    hosts: tuple[str, ...],
    life: timedelta,
    folder: Path,
    actor: str,
) -> None:
    """Make a service's key and certificate, `NAME.key` and `NAME.crt` in a folder.

    Raises:
        ConfigError: if there is no such service.
        RunError: if the folder cannot be written.
    """
    key = new_key()
    signed = authority.issue_service(identity, key.public_key(), hosts, life, actor)
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        keys.write_key(folder / f"{identity.name}.key", key)
        chain = pem(signed) + pem(authority.certificate(SERVICES))
        atomic_files.write(folder / f"{identity.name}.crt", chain.encode(), 0o644)
