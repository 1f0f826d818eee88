"""An authority: admits devices by tokens; signs, renews and revokes their certificates."""

import getpass
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer

from cloud.authority import keys, publishing, remote, service
from cloud.authority.authority import utc
from cloud.authority.fleet_table import read_fleet, write_fleet
from cloud.authority.identity import SERVICES as SERVICE_NAMES
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.settings import FILE, AuthoritySettings
from cloud.authority.signing import fingerprint, pem
from cloud.authority.tokens import Admission
from cloud.http.access import Role, new_token
from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files, logs
from edgeloop.runtime.config import parse

Folder = Annotated[Path, typer.Option(help="Folder of the authority: keys, settings, database.")]
Task = Annotated[str | None, typer.Option(help="Name of the task.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

HERE = Path("authority")


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop ca` with these arguments."""
    functions: dict[str, Callable[..., None]] = {
        "init": init,
        "serve": serve,
        "tokens": tokens,
        "devices": devices,
        "revoke": revoke,
        "issue": issue,
        "crl": crl,
        "audit": audit,
        "http-token": http_token,
    }
    return console.run_many(functions, "ca", arguments, __doc__)


def init(
    folder: Folder = HERE,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Host name or address by which devices reach it. May be repeated."),
    ] = None,
    listen: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8443,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File whose first line encrypts the keys; needed at each start."),
    ] = None,
) -> None:
    """Make an authority: two keys, their certificates, and a file of settings."""
    table: dict[str, Any] = {"hosts": host or ["localhost", "127.0.0.1"], "listen": listen}
    table["port"] = port
    if passphrase_file is not None:
        table["passphrase_file"] = str(passphrase_file.absolute())
    settings = parse(table, AuthoritySettings, "ca init")
    passphrase = settings.passphrase()
    keys.check_free(folder)
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_files.write(folder / FILE, tomli_w.dumps(table).encode(), 0o600)
    made = keys.make(folder, passphrase, utc())
    console.say(f"made: {folder}, with the settings in {folder / FILE}")
    console.say(f"fingerprint: sha256:{fingerprint(made[SERVICES].certificate)}")
    console.say(f"serve it with: edgeloop ca serve --folder {folder}")


def serve(folder: Folder = HERE, log_format: console.LogFormat = "plain") -> None:
    """Serve the authority over HTTPS until it is stopped."""
    logs.configure(log_format)
    with console.serving(), service.serving(folder):
        while True:
            time.sleep(3600.0)


def tokens(  # noqa: PLR0913 - an option each
    folder: Folder = HERE,
    task: Task = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the device, or a pattern of names such as press-*."),
    ] = None,
    uses: Annotated[int, typer.Option(help="Number of devices that the token admits.")] = 1,
    hours: Annotated[float, typer.Option(help="Hours until the token expires.")] = 24.0,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Label of the device, such as site=hall-3. May be repeated."),
    ] = None,
    fleet: Annotated[
        Path | None,
        typer.Option("--csv", help="CSV file that lists many devices: name, task, labels."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Path of the file to write: the tokens of --csv, or the one token."),
    ] = None,
    revoke: Annotated[str | None, typer.Option(help="Id of a token to withdraw.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the tokens.")] = False,
    server: Annotated[
        str | None, typer.Option(help="URL of an authority elsewhere that makes the token.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificate that identifies it: its services.crt.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with an operator's token for its HTTPS.")
    ] = None,
) -> None:
    """Make a token for a device or a fleet, list tokens, or withdraw one."""
    if server is not None:
        if ca_file is None or token_file is None or list_ or revoke or fleet:
            problem = "makes one token there, and needs --ca-file and --token-file"
            raise ConfigError("--server", problem, "give both, --task and --name")
        admission = _admission(task, name, uses, hours, label or [])
        _say_token(remote.make_token(server, ca_file, token_file, admission), out)
        return
    with service.opened(folder) as (authority, _):
        if list_:
            columns = ("id", "task", "names", "used", "expires", "state")
            console.table("tokens", columns, [_token_row(each) for each in authority.tokens()])
        elif revoke is not None:
            authority.revoke_token(revoke, _operator())
            console.say(f"token {revoke} is taken back")
        elif fleet is not None:
            if out is None:
                raise ConfigError("--out", "is missing", "name a file for the tokens")
            wanted = read_fleet(fleet, task, timedelta(hours=hours))
            made = authority.make_tokens(wanted, _operator())
            write_fleet(out, wanted, [text for _, text in made])
            console.say(f"{out}: {len(made)} tokens; each is a secret")
        else:
            admission = _admission(task, name, uses, hours, label or [])
            ((_, text),) = authority.make_tokens([admission], _operator())
            _say_token(text, out)


def _say_token(text: str, out: Path | None) -> None:
    """Print a token, or write it where only its user can read it."""
    if out is None:
        console.say(text)
        return
    with atomic_files.writing(out.parent):
        atomic_files.write(out, f"{text}\n".encode(), 0o600)


def _admission(
    task: str | None, name: str | None, uses: int, hours: float, labels: Sequence[str]
) -> Admission:
    for option, value in (("--task", task), ("--name", name)):
        if value is None:
            raise ConfigError(option, "is missing", f"give {option}, or --csv")
    pairs = {key: value for key, _, value in (each.partition("=") for each in labels)}
    if not 0 < hours <= 366 * 24:
        raise ConfigError("--hours", f"is {hours:g}", "give hours within a year")
    return Admission(str(task), str(name), uses, timedelta(hours=hours), pairs)


def _token_row(token: Any) -> tuple[object, ...]:
    admission, state = token.admission, token.obstacle(utc())
    if state is None:
        state = "open" if token.used < admission.uses else "used up"
    used = f"{token.used}/{admission.uses}"
    expires = f"{token.expires:%Y-%m-%d %H:%M}"
    return token.id, admission.task, admission.names, used, expires, state


def devices(folder: Folder = HERE, task: Task = None, as_json: Json = False) -> None:
    """List the devices that are admitted, and those that were revoked."""
    with service.opened(folder) as (authority, _):
        found = [each for each in authority.admitted() if task in (None, each.identity.task)]
    rows = [
        {
            "task": each.identity.task,
            "name": each.identity.name,
            "labels": ", ".join(f"{key}={value}" for key, value in each.labels.items()),
            "admitted": f"{each.admitted:%Y-%m-%d %H:%M}",
            "revoked": "" if each.revoked is None else f"{each.revoked:%Y-%m-%d %H:%M}",
        }
        for each in found
    ]
    _show("devices", ("task", "name", "labels", "admitted", "revoked"), rows, as_json)


def revoke(
    name: Annotated[str, typer.Argument(help="Name of the device; with --service, of a service.")],
    folder: Folder = HERE,
    task: Task = None,
    of_service: Annotated[
        bool, typer.Option("--service", help="Revoke a service instead of a device.")
    ] = False,
) -> None:
    """Revoke a device: its certificates are no longer accepted, and it gets no new ones."""
    identity = Identity(task or "", name)
    with service.opened(folder) as (authority, _):
        if of_service:
            authority.revoke_service(identity, _operator())
        elif task is None:
            raise ConfigError("--task", "is missing", "name the device's task")
        else:
            authority.revoke(identity, _operator())
    console.say(f"{identity} is revoked; the broker hears of it from edgeloop ca serve")


def issue(
    name: Annotated[str, typer.Argument(help=f"Name of the service: {', '.join(SERVICE_NAMES)}.")],
    out: Annotated[Path, typer.Option(help="Folder for the key and the certificates.")],
    folder: Folder = HERE,
    task: Task = None,
    host: Annotated[
        list[str] | None, typer.Option(help="Host name or address of a broker. May be repeated.")
    ] = None,
) -> None:
    """Make a service's key and certificate: the broker's, an aggregator's."""
    if name == "broker" and not host:
        raise ConfigError("--host", "is missing", "give what devices reach the broker by")
    with service.opened(folder) as (authority, settings):
        identity, hosts = Identity(task or "", name), tuple(host or ())
        service.issue(authority, identity, hosts, settings.service_life, out, _operator())
        publishing.write_authorities(authority, out)
        if name == "broker":
            publishing.write(authority, out, settings.prefix)
    console.say(f"made: {out / name}.key and {out / name}.crt, for {settings.service_days:g} days")


def crl(
    folder: Folder = HERE,
    of_services: Annotated[
        bool, typer.Option("--services", help="List services instead of devices.")
    ] = False,
) -> None:
    """Print the list of revoked certificates, signed now, PEM."""
    with service.opened(folder) as (authority, _):
        console.say(pem(authority.revoked(SERVICES if of_services else DEVICES)).rstrip())


def audit(
    folder: Folder = HERE,
    most: Annotated[
        int, typer.Option(min=1, max=100_000, help="Number of entries to show, the newest.")
    ] = 50,
    as_json: Json = False,
) -> None:
    """Show what was done and refused, and by whom."""
    with service.opened(folder) as (authority, _):
        found = authority.audit(most)
    rows = [{**vars(each), "at": f"{each.at:%Y-%m-%d %H:%M:%S}"} for each in reversed(found)]
    _show("audit", ("at", "actor", "act", "subject", "outcome", "detail"), rows, as_json)


def http_token(
    name: Annotated[str, typer.Argument(help="Name of the person or program that gets the token.")],
    role: Annotated[str, typer.Option(help="Role: viewer, operator or admin.")] = "viewer",
) -> None:
    """Make a token for HTTP: print it, and the line for the service's file of tokens."""
    roles = [each.name for each in Role if each]
    if role not in roles:
        raise ConfigError("--role", f"{role!r} is none", f"choose one of {', '.join(roles)}")
    text, digest = new_token()
    console.say(f"token: {text}")
    console.say(f"line:  {role} {name} {digest}")


def _show(
    title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], as_json: bool
) -> None:
    if as_json:
        console.say(json.dumps(list(rows), indent=1))
    else:
        console.table(title, columns, [[row[each] for each in columns] for row in rows])


def _operator() -> str:
    """Return who acts, for the record: the user of this machine."""
    try:
        return f"{getpass.getuser()} on the command line"
    except (KeyError, OSError):  # a user without a name, in a container
        return f"user {os.getuid()} on the command line"
