"""Serves bases over HTTP: `edgeloop base serve`, `serve-files`, `remove-files` and `fetch`."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cloud.generator_service.bases import repository, server, sources, storing
from cloud.generator_service.bases.server import Problems
from edgeloop.bases import manifest, remote
from edgeloop.bases.manifest import Manifest
from edgeloop.bases.reference import parse
from edgeloop.cli import console
from edgeloop.errors import ConfigError, EdgeloopError

Source = Annotated[
    str,
    typer.Argument(help="A name in the store, a folder, an address, or auto?shape=3x32x32."),
]
Name = Annotated[str | None, typer.Option(help="Name on the server. [default: the base's]")]
Version = Annotated[
    int, typer.Option(min=1, max=repository.LARGEST_VERSION, help="Version to write.")
]

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 600.0  # seconds between two tries of what cannot be written


def serve(
    source: Annotated[
        str | None,
        typer.Argument(help="Base to serve as version 1. [default: what the repository holds]"),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--repository", help="Folder that keeps the bases. [default: a temporary one]"
        ),
    ] = None,
    name: Name = None,
    add: Annotated[
        list[str] | None,
        typer.Option(help="VERSION=SOURCE of a further version of --name. May be repeated."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free one.")
    ] = 9466,
) -> None:
    """Serve bases for aggregators to fetch, until Ctrl-C; say which cannot be written."""
    wanted = _wanted(add or [], name)
    if source is not None and wanted:
        raise ConfigError("--add", "goes without a base of its own", "give it as --add, too")
    if source is None and folder is None:
        raise ConfigError("base serve", "has nothing to serve", "name a base, or a --repository")
    with console.serving(), ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        problems: Problems = {}
        if source is not None:
            _written(source, folder, name, 1)
        found = stack.enter_context(server.running(folder, host, port, problems))
        console.say(f"serves {_listing(folder)} on http://{host}:{found.server_port}")
        place = folder
        _until_stopped(lambda: name is None or _added(place, name, wanted, problems))


def serve_files(
    source: Source,
    folder: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Folder of the bases.")],
    name: Name = None,
    version: Version = 1,
) -> None:
    """Write a base into a folder that any web server can serve, beside its other versions."""
    called, facts = _written(source, folder, name, version)
    place = folder / called / str(version)
    console.say(f"written: {place}, version {version}, identity {facts.identity}")


def remove_files(
    name: Annotated[str, typer.Argument(help="Name of the base on the server.")],
    folder: Annotated[Path, typer.Argument(metavar="REPOSITORY", help="Folder of the bases.")],
) -> None:
    """Remove a base from a folder of bases, all its versions."""
    removed = repository.remove(folder, name)
    console.say(f"removed: {', '.join(f'version {each}' for each in removed) or 'nothing'}")


def fetch(
    reference: Annotated[
        str, typer.Argument(help="Address of the base: http://HOST:PORT/NAME?version=V&sha256=...")
    ],
    name: Annotated[
        str | None, typer.Option(help="Name in the store. [default: as on the server]")
    ] = None,
    replace: Annotated[
        bool, typer.Option(help="Replace a base of that name in the store.")
    ] = False,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a server that is unavailable.")
    ] = 0.0,
) -> None:
    """Fetch a base from a server into the store, and check its identity."""
    asked = parse(reference)
    called = name or asked.name
    storing.check_free(called, replace=replace)
    known = remote.found(asked, patience)
    with storing.new(called, replace=replace) as place:
        fetched = place.parent / "fetched"
        facts = remote.fetch(known, fetched, patience)
        _, graph = manifest.read(fetched)
        shutil.rmtree(fetched)
        fields = facts.model_dump(exclude={"sha256", "name"})
        manifest.write(place, graph, **fields, name=called)
    console.say(f"{called}: version {known.version}, identity {facts.identity}")


def _wanted(add: list[str], name: str | None) -> dict[int, str]:
    if add and name is None:
        raise ConfigError("--name", "is missing", "say of which base --add writes versions")
    wanted: dict[int, str] = {}
    for each in add:
        version, equals, source = each.partition("=")
        if not (version.isascii() and version.isdecimal() and equals and source):
            raise ConfigError("--add", f"{each!r} is no VERSION=SOURCE", "write 1=NAME")
        repository.check(str(name), int(version))
        wanted[int(version)] = source
    return wanted


def _added(folder: Path, name: str, wanted: dict[int, str], problems: Problems) -> bool:
    """Write what is not there yet; say what cannot be written, and serve the others."""
    known = problems.setdefault(name, {})
    for version in [each for each in wanted if each not in known or known[each]]:
        try:
            _written(wanted[version], folder, name, version)
        except EdgeloopError as error:
            if known.get(version) != str(error):
                console.note(f"{name}, version {version}: {error}")
            known[version] = str(error)
        else:
            known[version] = ""
            console.say(f"serves version {version} of {name}")
    return not any(known.values())


def _written(source: str, folder: Path, name: str | None, version: int) -> tuple[str, Manifest]:
    """Write one version; a computed one that is there already is not computed again."""
    if sources.is_computed(source):
        if name is None:
            raise ConfigError("--name", "is missing", "give a computed base one")
        repository.check(name, version)
        place = folder / name / str(version)
        if repository.is_whole(place):
            sources.check(source, manifest.read(place)[0])
            return name, repository.write(place, folder, name, version)
    with sources.opened(source, console.note) as place:
        called = name or manifest.read(place)[0].name
        return called, repository.write(place, folder, called, version)


def _listing(folder: Path) -> str:
    found = repository.index(folder)
    each = [f"{name} ({', '.join(map(str, found[name]))})" for name in found]
    return ", ".join(each) or "nothing yet"


def _until_stopped(done: Callable[[], bool]) -> NoReturn:
    """Try again what is not done, later each time, until a signal."""
    wait = _FIRST_WAIT
    while not done():
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)
    while True:
        threading.Event().wait()
