"""Lists the models: the architectures, what each costs, and the groups that clients share out."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import typer

from edgeloop import models
from edgeloop.cli import console
from edgeloop.errors import ConfigError, ModelError
from simulations.engine.flops import forward_flops

WIDTH = 512
"""K, which the networks for texts are listed with."""

COLUMNS = ("architecture", "inputs", "features", "parameters", "MFLOPs")


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop models` with these arguments."""
    return console.run(list_models, "models", arguments)


def list_models(
    shape: Annotated[
        str | None,
        typer.Option(help="Input shape, such as 3,32,32: list what fits it, measured with it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Write Markdown: the tables of docs/models.md.")
    ] = False,
) -> None:
    """List the architectures and the groups."""
    found = [describe(*each) for each in _asked(shape)]
    if as_json:
        console.say(json.dumps({"architectures": found, "groups": groups()}, indent=1))
    elif as_markdown:
        console.say(markdown(found, groups()))
    else:
        console.table("architectures", COLUMNS, [_cells(each) for each in found])
        console.table("groups", ("group", "clients take in turn"), _group_rows(groups()))


def describe(architecture: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what an architecture's base makes of one input, and costs; JSON values only.

    The keys: `name`; `shape`, of one input; `features`, D; `parameters`; `flops`, the
    floating-point operations of a forward pass, a multiplication and an addition being two. Where
    a package is not installed, `needs` says which one, and the numbers are None.

    Raises:
        ModelError: an unknown architecture, or one that does not fit.
    """
    facts = {"name": architecture, "shape": list(shape), "needs": None}
    if (needs := models.missing(architecture)) is not None:
        return {**facts, "needs": needs, "features": None, "parameters": None, "flops": None}
    features = models.feature_width(architecture, shape, WIDTH)
    parameters, flops = _counted(architecture, shape)
    return {**facts, "features": features, "parameters": parameters, "flops": flops}


def groups() -> list[dict[str, Any]]:
    """Return every group: its `name`, its `aliases`, and its `architectures` in order."""
    return [
        {
            "name": name,
            "aliases": [alias for alias, meant in models.ALIASES.items() if meant == name],
            "architectures": list(entries),
        }
        for name, entries in models.GROUPS.items()
    ]


def markdown(found: Sequence[Mapping[str, Any]], shared: Sequence[Mapping[str, Any]]) -> str:
    """Return both tables in Markdown."""
    rows = [[f"`{each['name']}`", *_cells(each)[1:]] for each in found]
    grouped = [tuple(map(_coded, each)) for each in _group_rows(shared)]
    tables = (_table(COLUMNS, rows), _table(("group", "clients take in turn"), grouped))
    return "\n".join(tables).strip()


@cache
def _counted(architecture: str, shape: tuple[int, ...]) -> tuple[int, int]:
    base = models.base_without_data(architecture, shape, WIDTH)
    return sum(each.numel() for each in base.parameters()), forward_flops(base, shape)


def _asked(shape: str | None) -> list[tuple[str, tuple[int, ...]]]:
    """Return the architectures to describe, each with the inputs to measure it with."""
    if shape is None:
        return [(name, models.usual_shape(name)) for name in models.ARCHITECTURES]
    sizes = _parsed(shape)
    fitting = models.fitting(sizes, WIDTH)
    if not fitting:
        raise ModelError("shape", f"no architecture fits {shape}", "give 3,32,32 or 9,1,128")
    return [(name, sizes) for name in fitting]


def _parsed(shape: str) -> tuple[int, ...]:
    sizes = [part.strip() for part in shape.split(",")]
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ConfigError("shape", f"{shape!r} is no list of sizes", "write 3,32,32")
    return tuple(int(size) for size in sizes)


def _cells(found: Mapping[str, Any]) -> list[str]:
    shape = " x ".join(map(str, found["shape"]))
    if found["needs"] is not None:
        return [found["name"], shape, "", f"needs {found['needs']}", ""]
    counts = (f"{found['features']:,}", f"{found['parameters']:,}", f"{found['flops'] / 1e6:,.1f}")
    return [found["name"], shape, *counts]


def _group_rows(shared: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [
        (", ".join([each["name"], *each["aliases"]]), ", ".join(each["architectures"]))
        for each in shared
    ]


def _coded(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
