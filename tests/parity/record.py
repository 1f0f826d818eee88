"""Record the numbers that the tests here hold.

python -m tests.parity.record --at bd597a1            # all of them, with that commit's code
python -m tests.parity.record --only ditto --parts auc --note "why they differ from that commit's"

A commit of before the modules moved into rooms is recorded from its own tree, without --at.
Without --at this tree's code runs. What is recorded again has the note; the rest stays.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests import real_data
from tests.parity import cases, keeping, worlds
from tests.parity.playing import play
from tests.parity.worlds import World

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Record what the command line asks for."""
    asked = arguments().parse_args()
    if asked.at is not None:
        again(asked.at, sys.argv[1:])
        return
    worlds.one_thread()
    for name in asked.world:
        world = opened(name)
        old = keeping.read(name) if keeping.path(name).exists() else {}
        keeping.write(name, recorded(world, old, asked))


def arguments() -> argparse.ArgumentParser:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.record")
    parser.add_argument("--at", help="run the code of this commit, and name it")
    parser.add_argument("--running", help=argparse.SUPPRESS, default="this tree")
    parser.add_argument("--world", nargs="+", choices=("images", "har"), default=("images", "har"))
    parser.add_argument("--only", nargs="+", help="cases; all of them if left out")
    parser.add_argument("--parts", nargs="+", choices=cases.PARTS, default=cases.PARTS)
    parser.add_argument("--note", help="why these differ from what was recorded before")
    return parser


def again(commit: str, words: list[str]) -> None:
    """Run this command with the library as it was at a commit, and everything else as it is."""
    archive = subprocess.run(
        ["git", "archive", commit, "edgeloop"],  # noqa: S607
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    place = words.index("--at")
    rest = [*words[:place], *words[place + 2 :], "--running", commit]
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
            packed.extractall(folder, filter="data")
        way = {"PYTHONPATH": os.pathsep.join([folder, str(ROOT)])}
        command = [sys.executable, "-P", "-m", "tests.parity.record", *rest]
        subprocess.run(command, env={**os.environ, **way}, check=True)


def opened(name: str) -> World:
    """Return a world by its name."""
    if name == "images":
        return worlds.images()
    return worlds.har(real_data.place("har", "config.json"))


def recorded(world: World, old: Mapping[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    """Return a world's numbers, those that are asked for recorded again."""
    kept = dict(old.get("cases", {}))
    for name in world.cases if asked.only is None else set(asked.only) & set(world.cases):
        kept[name] = case_recorded(world, name, kept.get(name), asked)
    machine = keeping.machine()
    if asked.only is not None and old:
        machine = old["machine"]
    ordered = {name: kept[name] for name in world.cases if name in kept}
    return {
        "machine": machine,
        "samples": world.digest,
        "cases": ordered,
    }


def case_recorded(
    world: World, name: str, old: Mapping[str, Any] | None, asked: argparse.Namespace
) -> dict[str, Any]:
    """Return a case's numbers: all again, or the parts asked for in the place of the old ones."""
    case = world.cases[name]
    wanted = [part for part in case.parts if part in asked.parts]
    rounds = [_only(each, wanted) for each in play(case, world)]
    head = {
        "at": asked.running,
        "kernels": keeping.kernels(),
        "hyperparameters": keeping.hyperparameters(case, world),
    }
    notes = [f"{', '.join(wanted)}: {asked.note}"] if asked.note else []
    if old is None or len(wanted) == len(case.parts):
        return {**head, "notes": notes, "rounds": rounds}
    merged = [{**was, **now} for was, now in zip(old["rounds"], rounds, strict=True)]
    return {**head, "at": old["at"], "notes": [*old["notes"], *notes], "rounds": merged}


def _only(record: Mapping[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    return {part: value for part, value in record.items() if part in parts}


if __name__ == "__main__":
    main()
