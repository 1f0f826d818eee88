"""Lists the models: the architectures, what each costs, and the groups that clients share out."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.runtime import modules
from edgeloop.runtime.plugins import BUILT_IN, MODELS

TABLE = Path(__file__).with_name("models.json")
"""What `edgeloop models --measured --json` printed where every package was; a test measures again.

`needs` names the package that an architecture of another's needs.
"""

COLUMNS = ("architecture", "inputs", "features", "parameters", "MFLOPs")


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop models` with these arguments."""
    return console.run(list_models, "models", arguments)


def list_models(
    shape: Annotated[
        str | None,
        typer.Option(help="Input shape, such as 3,32,32: list what fits it, measured with it."),
    ] = None,
    measured: Annotated[
        bool, typer.Option("--measured", help="Measure again instead of reading the table.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Write Markdown: the tables of docs/models.md.")
    ] = False,
) -> None:
    """List the architectures and the groups."""
    found, groups = _asked(shape, measured, built_in=as_markdown)
    if as_json:
        console.say(json.dumps({"architectures": found, "groups": groups}, indent=1))
    elif as_markdown:
        console.say(markdown(found, groups))
    else:
        rows = [[*_cells(each), each.get("from", BUILT_IN)] for each in found]
        console.table("architectures", (*COLUMNS, "from"), rows)
        console.table("groups", ("group", "clients take in turn"), _group_rows(groups))


def listed() -> dict[str, Any]:
    """Return the table, as `model_costs.measured` would measure it here; needs no torch."""
    table: dict[str, Any] = json.loads(TABLE.read_text())
    for each in table["architectures"]:
        if each["needs"] is not None and find_spec(each["needs"]) is None:
            each |= {"features": None, "parameters": None, "flops": None}
        else:
            each["needs"] = None
    return table


def markdown(found: Sequence[Mapping[str, Any]], shared: Sequence[Mapping[str, Any]]) -> str:
    """Return both tables in Markdown."""
    rows = [[f"`{each['name']}`", *_cells(each)[1:]] for each in found]
    grouped = [tuple(map(_coded, each)) for each in _group_rows(shared)]
    tables = (_table(COLUMNS, rows), _table(("group", "clients take in turn"), grouped))
    return "\n".join(tables).strip()


def _asked(
    shape: str | None, measured: bool, built_in: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the architectures and the groups; those of other packages too, or without them."""
    sizes = None if shape is None else _parsed(shape)
    found = listed()
    known = {each["name"] for each in found["architectures"]}
    files = modules.binding("edgeloop.models", "ARCHITECTURE")
    others = {each.rpartition(".")[2].replace("_", "-") for each in files} - known
    if sizes is not None or measured or others or MODELS.names():
        from simulations.commands import model_costs  # needs torch

        if sizes is not None or measured:
            found = model_costs.measured(sizes)
        else:
            found["architectures"] += model_costs.unlisted(sorted(others)) + model_costs.brought()
    kept = [each for each in found["architectures"] if not (built_in and "from" in each)]
    return kept, found["groups"]


def _parsed(shape: str) -> tuple[int, ...]:
    sizes = [part.strip() for part in shape.split(",")]
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ConfigError("shape", f"{shape!r} is no list of sizes", "write 3,32,32")
    return tuple(int(size) for size in sizes)


def _cells(found: Mapping[str, Any]) -> list[str]:
    if "problem" in found:
        return [found["name"], "", "", found["problem"], ""]
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
