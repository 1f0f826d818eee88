"""Set up a broker that identifies its clients, and keep its rights up to date."""

import logging
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography import x509

from cloud.authority import mosquitto, publishing, service
from cloud.authority.authority import identities_of
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.mosquitto import CONFIG, PID, RIGHTS, Listening
from cloud.authority.rights import emqx_rules, mosquitto_acl
from edgeloop.cli import console
from edgeloop.errors import ConfigError, EdgeloopError, UnavailableError
from edgeloop.runtime import atomic_files, logs
from edgeloop.runtime.config import first_line

log = logging.getLogger(__name__)

ANSWER_SECONDS = 20.0
MOST_ANSWER = 64 * 2**20

Folder = Annotated[
    Path, typer.Option(help="Folder of the broker: certificates, rights, configuration.")
]


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop broker` with these arguments."""
    functions: dict[str, Callable[..., None]] = {"config": config, "acl": acl, "sync": sync}
    return console.run_many(functions, "broker", arguments, __doc__)


def config(
    folder: Folder,
    listen: Annotated[str, typer.Option(help="Address to listen on for devices.")] = "0.0.0.0",  # noqa: S104
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for devices.")] = 8883,
    services_listen: Annotated[
        str, typer.Option(help="Address to listen on for aggregators.")
    ] = "127.0.0.1",
    services_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port for aggregators.")
    ] = 8884,
    websockets: Annotated[
        bool, typer.Option("--websockets", help="Let devices connect over websockets.")
    ] = False,
) -> None:
    """Write Mosquitto's configuration into the folder that `edgeloop ca issue broker` made."""
    needed = ["broker.crt", "broker.key", RIGHTS]
    needed += [f"{each}.{end}" for each in (DEVICES, SERVICES) for end in ("crt", "crl")]
    for name in needed:
        if not (folder / name).exists():
            remedy = "edgeloop ca issue broker --host NAME --out FOLDER makes it"
            raise ConfigError(str(folder / name), "is not there", remedy)
    listening = Listening((listen, port), (services_listen, services_port), websockets)
    with atomic_files.writing(folder):
        (folder / "data").mkdir(exist_ok=True, mode=0o700)
        text = mosquitto.config(folder, listening)
        atomic_files.write(folder / CONFIG, text.encode(), 0o644)
    console.say(f"written: {folder / CONFIG}; start it with: mosquitto -c {folder / CONFIG}")


def acl(
    authority: Annotated[Path, typer.Option(help="Folder of the authority.")] = Path("authority"),
    form: Annotated[
        Literal["mosquitto", "emqx"], typer.Option("--format", help="Broker that the file is for.")
    ] = "mosquitto",
) -> None:
    """Print who may read and write what, among those admitted now."""
    with service.opened(authority) as (found, settings):
        written = mosquitto_acl if form == "mosquitto" else emqx_rules
        rights = written(identities_of(found.admitted()), found.services(), settings.prefix)
    console.say(rights.rstrip())


def sync(  # noqa: PLR0913 - options of a command
    server: Annotated[str, typer.Option(help="URL of the authority: https://HOST:PORT.")],
    folder: Folder,
    token_file: Annotated[Path, typer.Option(help="File whose first line is a viewer's token.")],
    pid_file: Annotated[
        Path | None,
        typer.Option(
            help=f"Path of Mosquitto's pid file. [default: {PID} in the folder]", show_default=False
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds between two updates.")] = 20.0,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            help="Certificate of the services' authority; the folder then gets both authorities."
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Stop as soon as all files are there.")
    ] = False,
    log_format: console.LogFormat = "plain",
) -> None:
    """Keep the files of a broker on another machine than the authority up to date."""
    logs.configure(log_format)
    _trusting(ca_file or folder / f"{SERVICES}.crt")  # what is wrong here is said at once
    with console.serving():
        while True:
            try:
                if ca_file is not None:
                    fetch_authorities(server, folder, ca_file)
                token = first_line(token_file, "--token-file").strip()
                changed = fetch_changes(server, folder, token)
                if once:
                    return
                if changed:
                    publishing.reload_broker(pid_file or folder / PID)
            except EdgeloopError as error:
                log.warning("%s; tries again in %.0f s", error, seconds)
            time.sleep(seconds)


def fetch_authorities(server: str, folder: Path, trusted: Path) -> None:
    """Write the certificates of both authorities, whom the broker's listeners trust."""
    content = _get(server.rstrip("/") + "/v1/authorities", _trusting(trusted), "")
    try:
        told = atomic_files.parse_json(content)
        found = {f"{each}.crt": str(told[each]).encode() for each in (DEVICES, SERVICES)}
        for pem in found.values():
            x509.load_pem_x509_certificate(pem)
    except (LookupError, TypeError, ValueError) as error:
        raise UnavailableError(server_of(server), "names no authorities", "see to it") from error
    with atomic_files.writing(folder):
        for name, pem in found.items():
            path = folder / name
            if not path.exists() or path.read_bytes() != pem:
                atomic_files.write(path, pem, 0o644)


def fetch_changes(server: str, folder: Path, token: str) -> bool:
    """Write what has changed at the authority; tell whether anything has."""
    context = _trusting(folder / f"{SERVICES}.crt")
    paths = {RIGHTS: "/v1/rights", **{f"{n}.crl": f"/v1/revoked/{n}" for n in (DEVICES, SERVICES)}}
    changed = False
    for name, path in paths.items():
        content, before = _get(server.rstrip("/") + path, context, token), folder / name
        if not before.exists() or _differs(before.read_bytes(), content):
            with atomic_files.writing(folder):
                atomic_files.write(before, content, 0o640 if name == RIGHTS else 0o644)
            changed = True
    return changed


def _trusting(authority: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(authority))
    except OSError as error:  # an SSLError is one
        remedy = "copy the folder here that edgeloop ca issue broker made"
        raise ConfigError(str(authority), f"cannot be used ({error})", remedy) from error


def _differs(before: bytes, content: bytes) -> bool:
    """Return whether content is news; a list with the same certificates is, after a day."""
    if not content.startswith(b"-----BEGIN X509 CRL"):
        return before != content
    try:
        old, new = x509.load_pem_x509_crl(before), x509.load_pem_x509_crl(content)
    except ValueError:
        return True
    same = {each.serial_number for each in old} == {each.serial_number for each in new}
    age = new.last_update_utc - old.last_update_utc
    return age > publishing.REFRESH if same else age.total_seconds() > 0


def _get(url: str, context: ssl.SSLContext, token: str) -> bytes:
    if not url.startswith("https://"):
        raise ConfigError("--server", "is no URL of HTTPS", "write it like https://host:8443")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=context) as answer:  # noqa: S310
            return bytes(answer.read(MOST_ANSWER))
    except urllib.error.HTTPError as error:
        problem = f"answers {error.code} to {urllib.parse.urlsplit(url).path}"
        raise ConfigError(server_of(url), problem, "check --token-file: a viewer's") from error
    except OSError as error:
        raise UnavailableError(server_of(url), f"does not answer ({error})", "see to it") from error


def server_of(url: str) -> str:
    """Return the server of a URL, for messages."""
    return urllib.parse.urlsplit(url).netloc
