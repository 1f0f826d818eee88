"""Counts how far a value is handed on: in how many functions and classes, files, and names.

python tools/walks.py

A stay is a function or a class that has the value as a parameter, a field or a variable: by its
type (simulation settings, a contract), or by its name where a type says nothing (epsilon, a data
source's reference). Methods count one by one; a file counts once.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SETTINGS = r"(Run|Data|Compute|Partition)Settings|Plan"


class Walk(NamedTuple):
    """A value's way: the folders and files it is looked for in, and how it is known."""

    what: str
    where: tuple[str, ...]
    found: Callable[[ast.AST], str | None]


def by_type(pattern: str) -> Callable[[ast.AST], str | None]:
    """Return what finds parameters and fields whose type's name fits a pattern."""

    def found(node: ast.AST) -> str | None:
        if isinstance(node, ast.arg) and node.annotation is not None:
            name, annotation = node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name, annotation = node.target.id, node.annotation
        else:
            return None
        words = re.findall(r"\w+", ast.unparse(annotation))
        return name if any(re.fullmatch(pattern, word) for word in words) else None

    return found


def by_name(pattern: str) -> Callable[[ast.AST], str | None]:
    """Return what finds parameters, fields and variables whose own name fits a pattern."""

    def found(node: ast.AST) -> str | None:
        kinds = {ast.arg: "arg", ast.keyword: "arg", ast.Attribute: "attr", ast.Name: "id"}
        name = getattr(node, kinds.get(type(node), ""), None)
        return name if name is not None and re.fullmatch(pattern, name) else None

    return found


WALKS = (
    Walk("a simulation's settings", ("simulations",), by_type(SETTINGS)),
    Walk(
        "epsilon, from device to status",
        ("edge/agent", "edgeloop/answers.py", "edgeloop/cohorts", "cloud/aggregator"),
        by_name(r"_?epsilons?|with_epsilon|_?spent"),
    ),
    Walk(
        "a data source's reference",
        ("edgeloop/data", "edge/agent/settings.py", "simulations/settings"),
        by_name(r"sources?|reference|selection"),
    ),
    Walk("a contract at the device", ("edge",), by_type("Contract")),
)


def stays(tree: ast.AST, found: Callable[[ast.AST], str | None]) -> Iterator[tuple[str, str]]:
    """Yield each function or class that has the value, by its path in the file, and its name."""

    def visit(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
        for each in ast.iter_child_nodes(node):
            inner = f"{place}.{each.name}".lstrip(".") if isinstance(each, _PLACES) else place
            name = found(each)
            if name is not None:
                yield inner, name
            yield from visit(each, inner)

    return visit(tree, "")


_PLACES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def count(walk: Walk) -> tuple[int, int, int]:
    """Return how many stays, files and names a walk has."""
    paths = [ROOT / each for each in walk.where]
    files = [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]
    all_of_it = {
        (file, place, name)
        for file in files
        for place, name in stays(ast.parse(file.read_text()), walk.found)
    }
    places = {(file, place) for file, place, _ in all_of_it}
    return len(places), len({file for file, _ in places}), len({name for *_, name in all_of_it})


def main() -> None:
    """Print a line of a table for each walk."""
    for walk in WALKS:
        print(f"| {walk.what} | {' | '.join(map(str, count(walk)))} |")  # noqa: T201


if __name__ == "__main__":
    main()
