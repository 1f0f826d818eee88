"""Imports extractors of one's own as bases: `edgeloop base import`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cloud.generator_service.bases import importing, storing
from cloud.generator_service.bases.importing import Preprocessing
from cloud.generator_service.bases.options import Reference, Replace
from cloud.generator_service.bases.shapes import parse_shape
from edgeloop import generators
from edgeloop.bases import building, manifest
from edgeloop.bases.manifest import Manifest
from edgeloop.bases.running import BATCH_SIZE, Base
from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.gaussian.statistics import LARGEST

NOT_STATED = "not stated"
_DIMS = 256
_MANY = 0.001  # of an extractor's numbers: fewer are outliers
_DEFAULTS = (None, "", NOT_STATED, generators.EMBEDDED)


def import_(  # noqa: PLR0913 - an option each
    name: Annotated[str, typer.Option(help="Name of the base in the store.")],
    path: Annotated[
        Path | None, typer.Argument(help="Path of an ONNX file, or of a base's folder.")
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            help="Shape of a client's input, such as 3x32x32; a base's folder has its own."
        ),
    ] = None,
    torchvision: Annotated[
        str | None,
        typer.Option(help="Name of a torchvision network, instead of a file, such as resnet18."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="State dict for --torchvision. [default: torch hub's cache]"),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Input size of the model, height x width, such as 224x224.")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="Mean of each colour, of values in [0, 1]: 0.485,0.456,0.406. [default: 0]"
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help="Standard deviation that each colour is divided by. [default: 1]"),
    ] = None,
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last", help="The model's input is (N, height, width, channels)."),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            help="Name of the output to use; may be an inner tensor. [default: the first]"
        ),
    ] = None,
    dims: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=4096,
            help="Dimensions to project the output to; 0 for no projection. [default: 256]",
        ),
    ] = None,
    generator: Reference = generators.EMBEDDED,
    images: Annotated[
        int | None,
        typer.Option(help="Number of generated images to fit the projection to. [default: 1000]"),
    ] = None,
    title: Annotated[str, typer.Option(help="Short description.")] = "",
    source: Annotated[str, typer.Option(help="Origin of the weights.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = NOT_STATED,
    replace: Replace = False,
) -> None:
    """Import a frozen extractor: an ONNX file, a base's folder, or a network of torchvision's."""
    storing.check_free(name, replace=replace)
    _check_one(path, torchvision, weights, channels_last, output)
    if path is not None and path.is_dir():
        own = {"--shape": shape, "--size": size, "--mean": mean, "--std": std, "--dims": dims}
        own |= {"--output": output, "--images": images, "--channels-last": channels_last or None}
        own |= {"--title": title, "--source": source, "--licence": licence}
        _check_whole(path, own | {"--generator": generator})
        written = _copied(path, name, replace=replace)
        console.say(f"{name}: identity {written.identity}")
        return
    if shape is None:
        raise ConfigError("--shape", "is missing", "give that of one input of the clients")
    sides = parse_shape(shape)
    given = (
        (None if size is None else _pair(size)),
        _numbers("--mean", mean),
        _numbers("--std", std),
    )
    found = _of_file(path, given, channels_last) if path else _of(str(torchvision), weights, given)
    _check_colours(found.asked, sides)
    graph = _projected(found, sides, output, generator, _DIMS if dims is None else dims, images)
    base = Base(graph, found.name)
    about = {"title": title or f"{found.name}, {base.dims} dimensions", "licence": licence}
    about |= {"name": name, "source": source or found.source}
    with storing.new(name, replace=replace) as place:
        written = manifest.write(place, graph, shape=sides, dims=base.dims, **about)
    console.say(f"{name}: identity {written.identity}, {written.dims} dims")


Given = tuple[tuple[int, int] | None, tuple[float, ...] | None, tuple[float, ...] | None]


@dataclass(frozen=True)
class Found:
    """An extractor to import: its ONNX file, what comes before it, and what to say of it."""

    content: bytes
    asked: Preprocessing
    name: str
    source: str


def _check_one(
    path: Path | None,
    torchvision: str | None,
    weights: Path | None,
    channels_last: bool,
    output: str | None,
) -> None:
    if (path is None) == (torchvision is None):
        problem = "nothing to import" if path is None else "two things to import"
        raise ConfigError(
            "base import", problem, "give an ONNX file, a folder or --torchvision NAME"
        )
    if torchvision is None and weights is not None:
        raise ConfigError("--weights", "are --torchvision's", "give its network, too")
    if torchvision is not None and (channels_last or output is not None):
        option = "--channels-last" if channels_last else "--output"
        raise ConfigError(option, "is of ONNX files", "leave it out with --torchvision")


def _check_whole(path: Path, options: Mapping[str, object]) -> None:
    """Refuse what is said of a base's folder, which says all of that itself."""
    for option, value in options.items():
        if value not in _DEFAULTS:
            problem = f"is of ONNX files, and {path} is a base's folder, which has its own"
            raise ConfigError(option, problem, "leave it out")


def _of_file(path: Path, given: Given, channels_last: bool) -> Found:
    size, mean, std = given
    asked = Preprocessing(size, mean or (0.0,), std or (1.0,), channels_last)
    return Found(importing.read_file(path), asked, path.name, path.name)


def _of(torchvision: str, weights: Path | None, given: Given) -> Found:
    from cloud.generator_service.bases import vision  # only here must torch be there

    network = vision.network(torchvision, weights)
    size, mean, std = (given[0] or network.size, given[1] or network.mean, given[2] or network.std)
    console.note(f"exports {torchvision} with {network.weights}")
    asked = Preprocessing(size, mean, std)
    return Found(network.exported(size), asked, torchvision, network.source)


def _copied(path: Path, name: str, *, replace: bool) -> Manifest:
    """Copy a base's folder into the store, if it can be run."""
    facts, graph = manifest.read(path)
    Base.read(path)
    with storing.new(name, replace=replace) as place:
        about = facts.model_dump(exclude={"name", "sha256"})
        return manifest.write(place, graph, **{**about, "name": name})


def _projected(
    found: Found,
    shape: tuple[int, ...],
    output: str | None,
    generator: str,
    dims: int,
    images: int | None,
) -> bytes:
    """Return an extractor as a base, projected as a generator's images show its numbers to vary."""
    raw = importing.wrap_extractor(found.content, shape, found.asked, output, found.name)
    recipe = building.recipe_for(shape, dims=dims or None, images=images)
    drawn = building.drawn_inputs(generators.load(generator), shape, recipe)
    inputs = building.as_inputs(drawn, shape)
    if not dims:
        made = importing.measured(raw, inputs, found.name)
        _note_cut(made, inputs[:BATCH_SIZE], found.name)
        return made
    return importing.reduce_dims(raw, inputs, dims, found.name)


def _note_cut(graph: bytes, inputs: NDArray[np.float32], name: str) -> None:
    """Say how much of an extractor's own numbers class statistics would cut off."""
    share = float((np.abs(Base(graph, name).features(inputs)) > LARGEST).mean())
    if share > _MANY:
        text = f"{name}: {share:.0%} of its numbers are above {LARGEST:g}, where class statistics"
        console.note(f"{text} cut them off; a projection (--dims) scales them")


def _pair(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(each.isdecimal() and 0 < int(each) <= 4096 for each in sides):
        raise ConfigError("--size", f"{text!r} is no height x width", "write 224x224")
    return int(sides[0]), int(sides[1])


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
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
