"""Imports extractors of one's own as bases: `edgeloop base import`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cloud.generator_service.bases import importing, storing
from cloud.generator_service.bases.importing import Preprocessing
from cloud.generator_service.bases.options import Reference, Replace
from cloud.generator_service.bases.shapes import parse_shape
from edgeloop import generators, screen
from edgeloop.bases import building, manifest
from edgeloop.bases.manifest import Manifest
from edgeloop.bases.running import Base
from edgeloop.errors import ConfigError


def import_(
    path: Annotated[Path, typer.Argument(help="An ONNX file, or a base's folder.")],
    name: Annotated[str, typer.Option(help="In the store.")],
    shape: Annotated[
        str | None,
        typer.Option(help="Of one input of the clients, as 3x32x32; a folder has its own."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Height x width that the model reads, as 224x224.")
    ] = None,
    mean: Annotated[
        str, typer.Option(help="Taken off each colour, of values in [0, 1]: as 0.485,0.456,0.406.")
    ] = "0",
    std: Annotated[str, typer.Option(help="That each colour is divided by.")] = "1",
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="It reads (N, height, width, channels).")
    ] = False,
    output: Annotated[
        str | None, typer.Option(help="Which output, also an inner one. [default: the first]")
    ] = None,
    dims: Annotated[int, typer.Option(min=1, max=4096, help="To project its numbers to.")] = 256,
    generator: Reference = generators.EMBEDDED,
    title: Annotated[str, typer.Option(help="In a few words.")] = "",
    source: Annotated[str, typer.Option(help="Where the weights come from.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights.")] = "not stated",
    replace: Replace = False,
) -> None:
    """Import a frozen extractor of your own: an ONNX file with its preprocessing, or a folder."""
    storing.check_free(name, replace=replace)
    if path.is_dir():
        written = _copied(path, name, replace=replace)
        screen.say(f"{name}: identity {written.identity}")
        return
    if shape is None:
        raise ConfigError("--shape", "is missing", "give that of one input of the clients")
    sides, wanted = parse_shape(shape), None if size is None else _pair(size)
    numbers = _numbers("--mean", mean), _numbers("--std", std)
    asked = Preprocessing(wanted, *numbers, channels_last)
    _check_colours(asked, sides)
    graph = _projected(path, sides, asked, output, generator, dims)
    base = Base(graph, path.name)
    about = {"title": title or f"{path.name}, {base.dims} dimensions", "licence": licence}
    about |= {"name": name, "source": source or path.name}
    with storing.new(name, replace=replace) as place:
        written = manifest.write(place, graph, shape=sides, dims=base.dims, **about)
    screen.say(f"{name}: identity {written.identity}, {written.dims} dims")


def _copied(path: Path, name: str, *, replace: bool) -> Manifest:
    """Copy a base's folder into the store, if it can be run."""
    facts, graph = manifest.read(path)
    Base.read(path)
    with storing.new(name, replace=replace) as place:
        about = facts.model_dump(exclude={"name", "sha256"})
        return manifest.write(place, graph, **{**about, "name": name})


def _projected(
    path: Path,
    shape: tuple[int, ...],
    asked: Preprocessing,
    output: str | None,
    generator: str,
    dims: int,
) -> bytes:
    """Return an extractor as a base, projected as a generator's images show its numbers to vary."""
    raw = importing.wrapped(importing.read_file(path), shape, asked, output, path.name)
    recipe = building.recipe_for(shape, dims=dims)
    images = building.drawn(generators.load(generator), shape, recipe)
    return importing.reduced(raw, building.as_inputs(images, shape), dims, path.name)


def _pair(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(each.isdecimal() and 0 < int(each) <= 4096 for each in sides):
        raise ConfigError("--size", f"{text!r} is no height x width", "write 224x224")
    return int(sides[0]), int(sides[1])


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise ConfigError(option, f"{text!r} are no numbers", "write 0.5 or 0.5,0.5,0.5") from error
    if (
        len(found) not in (1, 3)
        or not all(np.isfinite(found))
        or (option == "--std" and min(found) <= 0)
    ):
        problem = f"{text!r} is not one number or three" + (" above 0" if option == "--std" else "")
        raise ConfigError(option, problem, "write one for each colour")
    return found


def _check_colours(asked: Preprocessing, shape: tuple[int, ...]) -> None:
    if len(asked.mean) != len(asked.std):
        problem = f"{len(asked.std)} numbers, and --mean has {len(asked.mean)}"
        raise ConfigError("--std", problem, "give as many")
    if len(shape) != 3:
        problem = f"{shape} has no height and width"
        raise ConfigError("--shape", problem, "give channels x height x width")
    if len(asked.mean) == 3 and shape[0] not in (1, 3):
        problem = f"three colours, and --shape has {shape[0]}"
        raise ConfigError("--mean", problem, "give one number")
