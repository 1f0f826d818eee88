"""Writes the table of values in the chart's README, from the comments in values.yaml.

`# -- words` above a key describes it. A key that is described and has no described keys below it
is a row with its default; one that has such keys is a row without.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent / "helm" / "edgeloop"
HEADING = "## Values\n"
KEY = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):")
WORDS = re.compile(r"^ *# -- (.*)$")


@dataclass(frozen=True)
class Described:
    """A key of values.yaml: where it is, and what its comment says."""

    path: tuple[str, ...]
    words: str | None


def keys(text: str) -> list[Described]:
    """Return the keys that have a line of their own, in their order."""
    found, place, words = [], list[tuple[int, str]](), None
    for line in text.splitlines():
        if comment := WORDS.match(line):
            words = comment[1]
        elif key := KEY.match(line):
            indent = len(key[1])
            place = [(depth, name) for depth, name in place if depth < indent]
            place.append((indent, key[2]))
            found.append(Described(tuple(name for _, name in place), words))
            words = None
    return found


def below(path: tuple[str, ...], described: list[Described]) -> list[Described]:
    """Return what is described below a key."""
    inner = [each for each in described if each.words and len(each.path) > len(path)]
    return [each for each in inner if each.path[: len(path)] == path]


def rows(text: str) -> list[str]:
    """Return the table's rows."""
    values, described = yaml.safe_load(text), keys(text)
    table = ["| value | default | what |", "| --- | --- | --- |"]
    for each in described:
        if each.words is None:
            continue
        inner = below(each.path, described)
        default = "" if inner else f"`{json.dumps(_at(values, each.path))}`"
        table.append(f"| `{'.'.join(each.path)}` | {default} | {_cell(each.words)} |")
    return table


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def readme(chart: Path = CHART) -> str:
    """Return the README as it should be: its own words, then the table."""
    text = (chart / "README.md").read_text(encoding="utf-8")
    table = rows((chart / "values.yaml").read_text(encoding="utf-8"))
    return text.partition(HEADING)[0] + HEADING + "\n" + "\n".join(table) + "\n"


if __name__ == "__main__":
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
