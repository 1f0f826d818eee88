"""Lists the algorithms: what each sends, where it runs, its paper and its hyperparameters."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from edgeloop import algorithms, screen

GIVEN = ("classes", "width", "seed", "shape", "generator_sha256", "latent_dim")
"""Fields of every Config that the run fills in; no hyperparameters."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop algorithms` with these arguments."""
    return screen.run(listing, "algorithms", arguments)


def listing(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
) -> None:
    """List the algorithms."""
    found = [describe(name) for name in algorithms.names()]
    if as_json:
        screen.say(json.dumps(found, indent=1))
        return
    columns = ("name", "title", "runs in", "up", "down", "variants", "hyperparameters", "paper")
    screen.table("algorithms", columns, [_cells(each) for each in found])


def describe(name: str) -> dict[str, Any]:
    """Return what a person wants to know of an algorithm before choosing it; JSON values only."""
    card = algorithms.card(name)
    defaults = dataclasses.asdict(algorithms.config(name, classes=1, width=1))
    return {
        "name": name,
        "title": card.title,
        "experimental": card.experimental,
        "runs": list(card.runs),
        "up": card.up,
        "down": card.down,
        "paper": card.paper,
        "variants": {"released": {}, **{key: dict(value) for key, value in card.variants.items()}},
        "hyperparameters": {key: value for key, value in defaults.items() if key not in GIVEN},
    }


def _cells(found: Mapping[str, Any]) -> list[str]:
    title = found["title"] + (" (experimental)" if found["experimental"] else "")
    return [
        *(found["name"], title, ", ".join(found["runs"]), found["up"], found["down"]),
        ", ".join(found["variants"]),
        " ".join(f"{key}={json.dumps(value)}" for key, value in found["hyperparameters"].items()),
        found["paper"],
    ]
