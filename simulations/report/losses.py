"""The report's section on losses: the clients', and what a server tells of itself."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simulations.report import charts
from simulations.report.charts import Series
from simulations.report.markup import Html, join_children, paragraph, tag
from simulations.report.report_data import ReportData
from simulations.results.groups import Group

Values = Sequence[float | None]

HEADING = "Losses, and numbers of the server"
TRAIN_LOSS = "train_loss"
"""Among what a round of a task tells: the devices' loss."""
_COLOUR = "var(--federated)"


def sections(groups: Sequence[Group], paint: Mapping[str, str]) -> dict[str, Html]:
    """Return the section by its heading; nothing where no run tells any.

    Args:
        groups: of runs; the first run of each is drawn.
        paint: each group's colour, by its name.
    """
    made = []
    curves = _curves(groups, paint, lambda told: told.get("train_loss_by_round") or [])
    if curves:
        label = "mean of what the clients descended, weighted by training samples"
        made += [paragraph("The clients' training loss."), charts.lines(label, curves, "loss")]
    for name in _measures(groups):
        curves = _curves(groups, paint, _by_name(name))
        if curves:
            heading = paragraph(f"The server's {name.replace('_', ' ')}.")
            made += [heading, charts.lines(f"{name} of each round", curves, name)]
    return {HEADING: tag("div", join_children(made))} if made else {}


def of_task(report_data: ReportData) -> dict[str, Html]:
    """Return the section of a task by its heading; nothing where no round tells any."""
    made = []
    for name in sorted(report_data.losses, key=lambda each: each != TRAIN_LOSS):
        points = report_data.losses[name]
        if not _is_drawn(points):
            continue
        words = name.replace("_", " ")
        text = "The devices' training loss." if name == TRAIN_LOSS else f"The server's {words}."
        curve = Series(words, points, _COLOUR)
        made += [paragraph(text), charts.lines(f"{words} of each round", [curve], words)]
    return {HEADING: tag("div", join_children(made))} if made else {}


def _is_drawn(points: Mapping[int, float]) -> bool:
    """Return whether a chart, which begins at 0, can have these."""
    return bool(points) and min(points.values()) >= 0 and max(points.values()) > 0


def _measures(groups: Sequence[Group]) -> list[str]:
    told = [_told(group).get("measures_by_round") or {} for group in groups]
    return list(dict.fromkeys(name for each in told for name in each))


def _by_name(name: str) -> Callable[[Mapping[str, Any]], Values]:
    return lambda told: (told.get("measures_by_round") or {}).get(name) or []


def _told(group: Group) -> Mapping[str, Any]:
    """Return what a group's first run says besides what every summary must."""
    return group.runs[0].summary.model_extra or {}


def _curves(
    groups: Sequence[Group],
    paint: Mapping[str, str],
    values: Callable[[Mapping[str, Any]], Values],
) -> list[Series]:
    found = []
    for group in groups:
        numbers = enumerate(values(_told(group)))
        points = {number: each for number, each in numbers if isinstance(each, int | float)}
        if _is_drawn(points):
            found.append(Series(group.name, points, paint[group.name]))
    return found
