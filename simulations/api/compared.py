"""Two runs, or two lists of runs with several seeds, beside each other."""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop.errors import RunError
from simulations.api.run import Run
from simulations.results import comparison, runs
from simulations.results.runs import FinishedRun

Side = Run | str | Path | Sequence[Run | str | Path]
"""A run, a folder of one or of several, or a list of these."""


class Comparison(dict[str, Any]):
    """What `edgeloop compare --json` says; printed, it is its sentence."""

    def __repr__(self) -> str:
        return str(self["sentence"])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the sentence and the accuracies of both."""
        rows = "".join(
            f"<tr><th>{html.escape(side['name'])}</th>{_cells(side)}</tr>"
            for side in (self["a"], self["b"])
        )
        head = "<tr><th></th><th>best accuracy</th><th>last accuracy</th></tr>"
        return f"<p>{html.escape(self['sentence'])}</p><table>{head}{rows}</table>"


def compare(a: Side, b: Side) -> Comparison:
    """Return how two finished runs differ, or two settings with several seeds each.

    Args:
        a: one side.
        b: the other.

    Returns:
        `sentence`, `settings`, `same_partition`, `a`, `b`, `seeds`, `clients` and `paired`, as
        docs/results.md defines them.

    Raises:
        ConfigError: if the runs of a side differ in more than the seed.
        RunError: if a folder holds no finished run, or one is damaged, or a side has none.
    """
    one = comparison.only_group(_runs(a), "A", "the first side")
    other = comparison.only_group(_runs(b), "B", "the second side")
    return Comparison(comparison.compare(one, other))


def _runs(side: Side) -> list[FinishedRun]:
    if isinstance(side, Run):
        return [side.finished]
    if isinstance(side, str | Path):
        return runs.find([Path(side).expanduser()])
    if isinstance(side, Mapping) or not isinstance(side, Iterable):
        kinds = "give a Run, a folder, or a list of these"
        raise RunError("compare", f"a side is {type(side).__name__}, and no run", kinds)
    found = [run for each in side for run in _runs(each)]
    if not found:
        raise RunError("compare", "a side has no run", "give one at least")
    return found


def _cells(side: Mapping[str, Any]) -> str:
    values = (side["best_accuracy"], side["final_accuracy"])
    if not side["test_samples"]:
        return "<td>-</td>" * len(values)
    return "".join(f"<td>{each['mean']:.4f}</td>" for each in values)
