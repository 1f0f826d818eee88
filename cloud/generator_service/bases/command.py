"""Builds, imports, lists and shows bases: the frozen extractors that class statistics read."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from cloud.generator_service.bases import importing, showing, storing
from cloud.generator_service.bases.importing import Preprocessing
from edgeloop import bases, data, generators, screen
from edgeloop.bases import building, manifest
from edgeloop.bases.manifest import Manifest
from edgeloop.bases.recipe import Recipe
from edgeloop.bases.running import Base
from edgeloop.data.pfllib import Layout
from edgeloop.errors import BaseError, ConfigError

Shape = Annotated[
    str, typer.Option(help="Of one input of the clients: channels x height x width, as 3x32x32.")
]
Replace = Annotated[bool, typer.Option(help="Replace the one in the store that has the name.")]
Reference = Annotated[
    str, typer.Option(help="Whose images it is computed from: see edgeloop generator list.")
]


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop base` with these arguments."""
    functions: dict[str, Callable[..., None]] = {
        "list": list_,
        "build": build,
        "import": import_,
        "show": show,
    }
    return screen.run_many(functions, "base", arguments)


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the bases in the store."""
    found = [_described(path) for path in sorted(bases.store().glob(f"[!.]*/{manifest.MANIFEST}"))]
    if as_json:
        screen.say(json.dumps(found, indent=1))
        return
    columns = ("name", "inputs", "dims", "title", "source", "identity")
    rows = [tuple(str(each[column]) for column in columns) for each in found]
    screen.table("bases", columns, rows)
    screen.say(f"store: {bases.store()}; build one with `edgeloop base build`")


def _described(path: Path) -> dict[str, Any]:
    name = path.parent.name
    try:
        facts, _ = manifest.read(path.parent)
    except BaseError as error:
        empty = dict.fromkeys(("inputs", "dims", "source", "identity"), "-")
        return {"name": name, **empty, "title": f"damaged: {error.problem}"}
    return {
        "name": name,
        "inputs": "x".join(map(str, facts.shape)),
        "dims": facts.dims,
        "title": facts.title,
        "source": facts.source,
        "identity": facts.identity,
    }


def build(
    name: Annotated[str, typer.Option(help="In the store.")],
    shape: Shape,
    generator: Reference = generators.EMBEDDED,
    windows: Annotated[
        str | None,
        typer.Option(help="Compute it from this data instead: public sensor windows or images."),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Of the windows: files, or signal to undo interleaving.")
    ] = "files",
    classes: Annotated[int, typer.Option(min=2, help="That clients will tell apart.")] = 10,
    filters: Annotated[int | None, typer.Option(help="Found by k-means. [default: 96]")] = None,
    second: Annotated[
        int | None, typer.Option(help="Of a second layer; 0 for none. [default: by shape]")
    ] = None,
    patch: Annotated[int | None, typer.Option(help="A side of a patch. [default: 6]")] = None,
    stride: Annotated[int | None, typer.Option(help="Between patches. [default: by shape]")] = None,
    grid: Annotated[int | None, typer.Option(help="Parts of a side. [default: 3]")] = None,
    dims: Annotated[int | None, typer.Option(help="Of a feature. [default: by shape]")] = None,
    images: Annotated[int | None, typer.Option(help="To compute it from. [default: 1000]")] = None,
    mirrored: Annotated[
        bool | None,
        typer.Option("--mirrored/--not-mirrored", help="Average with the mirror image."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of all draws. [default: 0]")] = None,
    replace: Replace = False,
) -> None:
    """Compute a base from a generator's images: filters by k-means, and a projection."""
    sides = parse_shape(shape)
    asked = {
        **{
            "filters": filters,
            "second": second,
            "patch": patch,
            "stride": stride,
            "grid": grid,
            "dims": dims,
        },
        **{"images": images, "mirrored": mirrored, "seed": seed},
    }
    recipe = building.recipe_for(sides, classes, **asked)
    storing.check_free(name, replace=replace)
    begun = time.monotonic()
    with storing.new(name, replace=replace) as place:
        facts = _built(place, sides, recipe, generator, windows, layout)
    seconds = time.monotonic() - begun
    screen.say(f"{name}: identity {facts.identity}, {facts.dims} dims, {seconds:.1f} s")


def _built(
    place: Path,
    shape: tuple[int, ...],
    recipe: Recipe,
    generator: str,
    windows: str | None,
    layout: str,
) -> Manifest:
    if windows is None:
        if layout != "files":
            problem = f"is {layout!r} of windows, and none are given"
            raise ConfigError("--layout", problem, "give --windows, or leave it out")
        source = generators.load(generator)
        graph = building.of_generator(source, shape, recipe, screen.note)
        return building.keep(place, graph, shape, recipe, source.identity)
    inputs = _inputs(_public(windows, layout), windows, shape, recipe)
    graph = building.of_inputs(inputs, shape, recipe, screen.note)
    return building.keep(place, graph, shape, recipe, "", source=f"computed from {windows}")


def _public(source: str, layout: str) -> data.Federation:
    """Open a data set that anybody may see: divided already, or as one client's."""
    if data.is_divided(source) or layout != "files":
        return data.load(source, layout=cast(Layout, layout))  # refuses what is no layout
    return data.alone(data.read(source))


def _inputs(
    federation: data.Federation, source: str, shape: tuple[int, ...], recipe: Recipe
) -> "np.ndarray[Any, Any]":
    """Return some of a data set's training inputs (N, *shape), as clients' models read them."""
    if tuple(federation.shape) != shape:
        problem = f"{source} has inputs of {federation.shape}, and --shape is {shape}"
        raise ConfigError("--windows", problem, "give the data's own shape")
    parts = [federation.client(client).train.inputs for client in range(len(federation))]
    whole = np.concatenate(parts)
    chosen = np.random.default_rng(recipe.seed).permutation(len(whole))[: recipe.images]
    return whole[np.sort(chosen)]


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


def show(
    reference: Annotated[str, typer.Argument(help="A name in the store, or a folder.")],
    out: Annotated[
        Path | None, typer.Option(help="The picture of its filters. [default: NAME.png]")
    ] = None,
) -> None:
    """Tell a base's facts and what it costs, and draw its filters."""
    folder = bases.folder_of(reference)
    facts, graph = manifest.read(folder)
    screen.table(reference, ("fact", "value"), showing.facts(facts, graph, Base.read(folder)))
    path = out or Path(f"{facts.name}.png")
    if showing.draw(graph, path):
        screen.say(f"picture: {path}")
    else:
        screen.say("no picture: its first layer has no filters that can be drawn")


def parse_shape(text: str) -> tuple[int, ...]:
    """Read a shape such as 3x32x32.

    Raises:
        ConfigError: if it is none.
    """
    sides = text.lower().replace(",", "x").split("x")
    known = all(each.strip().isdecimal() and 0 < int(each) <= 65_536 for each in sides)
    if not known or not 2 <= len(sides) <= 3:
        raise ConfigError("--shape", f"{text!r} is no shape", "write channels x height x width")
    return tuple(int(each) for each in sides)


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
