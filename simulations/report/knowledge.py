"""What simulated runs exchanged, as the report's stories: history, or the last broadcast alone."""

from collections.abc import Sequence

import numpy as np

from edgeloop.showing.rounds import read_arrays, read_round
from simulations.report import sections
from simulations.report.markup import Html, join_children, missing, tag
from simulations.report.report_data import Array, ReportData, Round
from simulations.results.folder import HISTORY
from simulations.results.groups import Group
from simulations.results.runs import FinishedRun

GLOBAL = "global"
"""The owner, on the map, of prototypes that no client uploaded."""


def load_report_data(run: FinishedRun) -> ReportData:
    """Tell what a run exchanged.

    Raises:
        RunError: if one of its files is damaged.
    """
    partition = run.partition()
    return ReportData(
        title=run.title,
        class_names=partition.class_names if partition else (),
        shape=partition.shape if partition else (),
        history=_history(run),
    )


def _history(run: FinishedRun) -> tuple[Round, ...]:
    kept = sorted((run.folder / HISTORY).glob("round-*.safetensors"))
    if kept:
        return tuple(read_round(path) for path in kept)
    last = run.folder / "prototypes.safetensors"
    arrays = read_arrays(last) if last.exists() else {}
    fields = {f"broadcast.{name}": array for name, array in arrays.items()}
    return (Round(run.rounds - 1, fields),) if fields else ()


def maps(groups: Sequence[Group], stories: Sequence[ReportData]) -> Html:
    """Draw the prototypes of the first run of every group that has some."""
    drawn = [
        tag("div", tag("h3", _named(group)), _map(run_data))
        for group, run_data in zip(groups, stories, strict=True)
        if _has_prototypes(run_data)
    ]
    return (
        join_children(drawn)
        if drawn
        else missing("No run exchanged prototypes, or none kept them.")
    )


def _has_prototypes(run_data: ReportData) -> bool:
    return any(
        len(each.arrays.get("prototypes", ())) or each.global_prototypes()
        for each in run_data.history
    )


def _map(run_data: ReportData) -> Html:
    if any(len(each.arrays.get("prototypes", ())) for each in run_data.history):
        return sections.prototypes(run_data)
    last = run_data.history[-1]
    known = last.global_prototypes()
    points_ND = np.stack(list(known.values()))
    if points_ND.ndim != 2 or not np.isfinite(points_ND).all():
        return missing("A prototype of the last broadcast holds an entry that is not finite.")
    text = (
        f"The {len(known)} prototypes of {points_ND.shape[1]} entries of the last broadcast (with "
        "--history a run keeps those that its clients uploaded, too)"
    )
    drawn = _alone(last, list(known), points_ND)
    return sections.prototype_map(run_data, drawn, text, "global prototypes")


def _alone(last: Round, labels: Sequence[int], points_ND: Array) -> Round:
    """Return a round whose uploaded prototypes are the global ones."""
    arrays: dict[str, Array] = {
        "labels": np.array(labels),
        "devices": np.zeros(len(labels), np.int64),
        "prototypes": points_ND,
    }
    return Round(last.number, arrays, (GLOBAL,))


def images(groups: Sequence[Group], stories: Sequence[ReportData]) -> Html | None:
    """Show what generators made in the first run of every group; None where there is nothing."""
    shown = [
        tag("div", tag("h3", _named(group)), sections.images(run_data))
        for group, run_data in zip(groups, stories, strict=True)
        if any(each.images is not None for each in run_data.history)
    ]
    return join_children(shown) if shown else None


def _named(group: Group) -> str:
    seed = f", seed {group.runs[0].seed}" if len(group.runs) > 1 else ""
    return f"{group.name}{seed}"
