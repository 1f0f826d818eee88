"""Enrols a device: makes its key, has a certificate signed by a token, writes its identity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge.agent import enrolment
from edge.agent.authority_client import Place, pinned
from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.protocol.task import DeviceName
from edgeloop.runtime.config import Settings, first_line, parse

HERE = Path("identity")


class Named(Settings):
    """A device, as far as it has a name."""

    name: DeviceName


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop enroll` with these arguments."""
    return console.run(enroll, "enroll", arguments)


def enroll(  # noqa: PLR0913 - an option each
    server: Annotated[str, typer.Option(help="URL of the authority: https://HOST:PORT.")],
    name: Annotated[str, typer.Option(help="Name of the device.")],
    token: Annotated[str | None, typer.Option(help="Token that the operator gave you.")] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the token, instead of --token.")
    ] = None,
    ca_fingerprint: Annotated[
        str | None,
        typer.Option(help="Fingerprint of the authority, as printed by edgeloop ca init."),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="The authority's services.crt, instead of the fingerprint.")
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Folder for the device's key and certificate.")
    ] = HERE,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep a certificate that is in the folder already.")
    ] = False,
) -> None:
    """Enrol this device: its key is made here, and never leaves it."""
    place = Place.of(server)
    parse({"name": name}, Named, "--name")
    if keep and enrolment.has_certificate(folder, name):
        console.say(f"{name} is enrolled already; its identity is in {folder}")
        return
    secret = _token(token, token_file)
    facts = enrolment.enrol(folder, place, _authority(place, ca_fingerprint, ca_file), secret, name)
    console.say(f"{facts.name} is admitted to {facts.task}; its identity is in {folder}")
    console.say(f'add to the agent\'s file: enrolment = "{folder.absolute()}"')


def _token(token: str | None, file: Path | None) -> str:
    if (token is None) == (file is None):
        raise ConfigError("--token", "is one of two", "give --token or --token-file")
    return token if token is not None else first_line(Path(str(file)), "--token-file").strip()


def _authority(place: Place, fingerprint: str | None, file: Path | None) -> str:
    if (fingerprint is None) == (file is None):
        problem = "is one of two: without them this could be any authority"
        raise ConfigError("--ca-fingerprint", problem, "give --ca-fingerprint or --ca-file")
    if fingerprint is not None:
        return pinned(place, fingerprint)
    try:
        return Path(str(file)).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--ca-file", f"cannot be read ({error})", "give a PEM file") from error
