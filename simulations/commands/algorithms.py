"""Lists the algorithms: what each sends, where it runs, its paper and its hyperparameters."""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from edgeloop import algorithms
from edgeloop.algorithm import AlgorithmInfo
from edgeloop.cli import console
from edgeloop.errors import EdgeloopError

GIVEN = (*algorithms.RUN_FACTS, "architecture")
"""Fields of every Config that the run fills in; no hyperparameters."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop algorithms` with these arguments."""
    return console.run(list_algorithms, "algorithms", arguments)


def list_algorithms(
    name: Annotated[
        str | None,
        typer.Argument(help="Algorithm whose hyperparameters to explain. [default: list all]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Write everything as Markdown: docs/algorithms.md.")
    ] = False,
) -> None:
    """List the algorithms."""
    if not (name or as_json or as_markdown):
        columns = ("name", "title", "runs in", "clients", "up", "down", "variants", "paper")
        rows = [_cells(each) for each in algorithms.names()]
        console.table("algorithms", (*columns, "from"), rows)
        return
    found = [describe(name)] if name else _described(as_markdown)
    if as_json:
        console.say(json.dumps(found, indent=1))
    elif as_markdown:
        console.say(markdown(found))
    else:
        _show(found[0])


def describe(name: str) -> dict[str, Any]:
    """Return what a person wants to know of an algorithm before choosing it; JSON values only.

    Raises:
        ConfigError: if there is no such algorithm.
    """
    config = algorithms.config(name, **algorithms.supported_options(name, classes=1, width=1))
    defaults = dataclasses.asdict(config)
    return {
        **_facts(name),
        "hyperparameters": {key: value for key, value in defaults.items() if key not in GIVEN},
        "meanings": {
            key: meaning
            for key, meaning in _meanings_of(type(config)).items()
            if key in defaults and key not in GIVEN
        },
    }


def _described(built_in_only: bool) -> list[dict[str, Any]]:
    """Return what there is to know of all algorithms; of one that is broken, its `problem`."""
    found = []
    for name in algorithms.built_in() if built_in_only else algorithms.names():
        try:
            found.append(describe(name))
        except EdgeloopError as error:
            origin = algorithms.origin(name)
            found.append({"name": name, "from": origin, "problem": str(error)})
    return found


def _facts(name: str) -> dict[str, Any]:
    """Return what is known without torch: all but the hyperparameters."""
    info = algorithms.info(name)
    return {
        "name": name,
        "from": algorithms.origin(name),
        "title": info.title,
        "experimental": info.experimental,
        "runs": list(info.runs_in),
        "clients": _clients(info),
        "generator": info.generator,
        "base": info.base,
        "averages": info.averages,
        "up": info.up,
        "down": info.down,
        "paper": info.paper,
        "variants": {"released": {}, **{key: dict(value) for key, value in info.variants.items()}},
    }


def _clients(info: AlgorithmInfo) -> str:
    alike = "one architecture" if info.same_architecture else "any architectures"
    return f"{alike}, a head of one layer" if info.linear_head_only else alike


def _meanings_of(config: type) -> dict[str, str]:
    """Return what a Config and its bases say of their fields; the Config has the last word."""
    docs = [meanings(kind.__doc__ or "") for kind in reversed(config.__mro__)]
    return {name: text for each in docs for name, text in each.items()}


def meanings(docstring: str) -> dict[str, str]:
    """Return what the `Attributes:` of a docstring say, by name, each on one line."""
    lines = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {8}(\w+): (.+?)(?=^ {8}\w|\Z)", lines, re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of algorithms in Markdown, and then a section of each."""
    columns = ("algorithm", "clients", "up", "down", "paper")
    rows = [
        (f"[{_title(each)}](#{each['name']})", *(each[column] for column in columns[1:]))
        for each in found
    ]
    return "\n".join([_table(columns, rows), *(_section(each) for each in found)]).strip()


def _section(found: Mapping[str, Any]) -> str:
    parts = [f"### {found['name']}\n", f"{_title(found)}. {found['paper']}.\n"]
    runs = ", ".join(found["runs"])
    parts.append(f"Runs in: {runs}. Up: {found['up']}. Down: {found['down']}.\n")
    if found["generator"]:
        parts.append("The server asks a [generator](generators.md).\n")
    if found["base"]:
        parts.append("Clients compute on a [base](bases.md).\n")
    if found["averages"]:
        text = (
            "The server averages: rounds may be [semi-asynchronous](#semi-asynchronous-rounds).\n"
        )
        parts.append(text)
    rows = [
        (f"`{key}`", f"`{json.dumps(value)}`", found["meanings"][key])
        for key, value in found["hyperparameters"].items()
    ]
    parts.append(_table(("hyperparameter", "default", "meaning"), rows))
    parts += [
        f"Variant `{name}`: {_options(options)}.\n"
        for name, options in found["variants"].items()
        if options
    ]
    return "\n".join(parts)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _show(found: Mapping[str, Any]) -> None:
    rows = [(fact, found[fact]) for fact in ("clients", "up", "down", "paper", "from")]
    columns = (_title(found), "runs in " + ", ".join(found["runs"]))
    console.table(found["name"], columns, rows)
    console.table(
        "hyperparameters",
        ("name", "default", "meaning"),
        [
            (key, json.dumps(value), found["meanings"][key])
            for key, value in found["hyperparameters"].items()
        ],
    )
    variants = [(name, _options(options, "{}={}")) for name, options in found["variants"].items()]
    console.table("variants", ("name", "sets"), variants)


def _options(options: Mapping[str, Any], form: str = "`{}={}`") -> str:
    return ", ".join(form.format(key, json.dumps(value)) for key, value in options.items())


def _title(found: Mapping[str, Any]) -> str:
    title: str = found["title"]
    return f"{title} (experimental)" if found["experimental"] else title


def _cells(name: str) -> list[str]:
    try:
        found = _facts(name)
    except EdgeloopError as error:
        return [name, str(error), *[""] * 6, algorithms.origin(name)]
    return [
        *(found["name"], _title(found), ", ".join(found["runs"]), found["clients"]),
        *(found["up"], found["down"], ", ".join(found["variants"]), found["paper"]),
        found["from"],
    ]
