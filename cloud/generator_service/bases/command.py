"""Builds, imports, lists and shows bases: the frozen extractors that class statistics read."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from cloud.generator_service.bases import bringing, serving, showing, storing
from cloud.generator_service.bases.settings import BuildSettings
from cloud.generator_service.bases.shapes import parse_shape
from edgeloop import bases, data, generators
from edgeloop.bases import building, manifest
from edgeloop.bases.manifest import Manifest
from edgeloop.bases.recipe import BaseRecipe
from edgeloop.bases.running import Base
from edgeloop.cli import console, options
from edgeloop.data.pfllib import Layout
from edgeloop.errors import BaseError, ConfigError


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop base` with these arguments."""
    functions: dict[str, Callable[..., None]] = {
        "list": list_,
        "build": build,
        "import": bringing.import_,
        "fetch": serving.fetch,
        "serve": serving.serve,
        "serve-files": serving.serve_files,
        "remove-files": serving.remove_files,
        "show": show,
    }
    return console.run_many(functions, "base", arguments, __doc__)


def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bases in the store."""
    found = [_described(path) for path in sorted(bases.store().glob(f"[!.]*/{manifest.MANIFEST}"))]
    if as_json:
        console.say(json.dumps(found, indent=1))
        return
    columns = ("name", "inputs", "dims", "title", "source", "identity")
    rows = [tuple(str(each[column]) for column in columns) for each in found]
    console.table("bases", columns, rows)
    console.say(f"store: {bases.store()}; build one with `edgeloop base build`")


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


@options.of(BuildSettings, "base build", ranges=True)
def build(settings: BuildSettings) -> None:
    """Compute a base from a generator's images: filters by k-means, and a projection."""
    name, replace = settings.name, settings.replace
    sides = parse_shape(settings.shape)
    recipe = settings.recipe_for(sides)
    storing.check_free(name, replace=replace)
    begun = time.monotonic()
    with storing.new(name, replace=replace) as place:
        facts = _built(place, sides, recipe, settings)
    seconds = time.monotonic() - begun
    console.say(f"{name}: identity {facts.identity}, {facts.dims} dims, {seconds:.1f} s")


def _built(
    place: Path, shape: tuple[int, ...], recipe: BaseRecipe, settings: BuildSettings
) -> Manifest:
    windows, layout = settings.windows, settings.layout
    if windows is None:
        if layout != "files":
            problem = f"is {layout!r} of windows, and none are given"
            raise ConfigError("--layout", problem, "give --windows, or leave it out")
        source = generators.load(settings.generator)
        graph = building.graph_of_generator(source, shape, recipe, console.note)
        return building.write_base(place, graph, shape, recipe, source.identity)
    if settings.generator != generators.EMBEDDED:
        problem = f"is {settings.generator!r}, and the base is computed from {windows}"
        raise ConfigError("--generator", problem, "leave out one of the two")
    inputs = _inputs(_public(windows, layout), windows, shape, recipe)
    graph = building.graph_of_inputs(inputs, shape, recipe, console.note)
    return building.write_base(place, graph, shape, recipe, "", source=f"computed from {windows}")


def _public(source: str, layout: Layout) -> data.Federation:
    """Open a data set that anybody may see: divided already, or as one client's."""
    if data.is_divided(source) or layout != "files":
        return data.load(source, layout=layout)
    return data.single_client(data.read(source))


def _inputs(
    federation: data.Federation, source: str, shape: tuple[int, ...], recipe: BaseRecipe
) -> "np.ndarray[Any, Any]":
    """Return some of a data set's training inputs (N, *shape), as clients' models read them."""
    if tuple(federation.shape) != shape:
        problem = f"{source} has inputs of {federation.shape}, and --shape is {shape}"
        raise ConfigError("--windows", problem, "give the data's own shape")
    parts = [federation.client(client).train.inputs for client in range(len(federation))]
    whole = np.concatenate(parts)
    chosen = np.random.default_rng(recipe.seed).permutation(len(whole))[: recipe.images]
    return whole[np.sort(chosen)]


def show(
    reference: Annotated[str, typer.Argument(help="A name in the store, or a folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Image file for its filters. [default: NAME.png]")
    ] = None,
) -> None:
    """Show a base's properties and costs, and draw its filters."""
    folder = bases.folder_of(reference)
    facts, graph = manifest.read(folder)
    console.table(reference, ("fact", "value"), showing.base_facts(facts, graph, Base.read(folder)))
    path = out or Path(f"{facts.name}.png")
    if showing.draw(graph, path):
        console.say(f"picture: {path}")
    else:
        console.say("no picture: its first layer has no filters that can be drawn")
