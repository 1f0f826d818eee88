"""A scenario's results as a table: ours beside the published, and which cells differ.

Shape suffixes: S trials, M rows.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from edgeloop.errors import RunError
from simulations.reproduce.scenario import Cell, Measure, Plan, Scale

Summary = Mapping[str, Any]
Runs = Mapping[Cell, Sequence[Summary]]
TIMES = 2.0
"""A cell differs if the means are further apart than so many of their joint standard deviations."""


class Entry(NamedTuple):
    """One number of the table.

    Attributes:
        mean: ours, over the trials.
        std: ours, of the population; None for one trial.
        paper: the published mean, or None.
        paper_std: the published std, or None.
        differs: whether the two are further apart than their spread; None where one cannot tell.
    """

    mean: float
    std: float | None
    paper: float | None = None
    paper_std: float | None = None
    differs: bool | None = None


Table = Mapping[str, Mapping[str, Entry]]
"""By row and heading."""


UNITS: Mapping[Measure, str] = {
    "upload": "millions of numbers a round, all clients",
    "download": "millions of numbers a round, all clients",
    "both": "millions of numbers a round, all clients, up and down",
    "bytes up": "kB a round that a client sends",
    "bytes down": "kB a round that a client gets",
    "seconds": "of a round, on the machine that ran it and with what else ran there",
    "all bytes up": "kB that a client sends in the whole run",
    "all bytes down": "kB that a client gets in the whole run, the last broadcast included",
    "core seconds": "that cores worked for the whole run, all clients, reading the data included",
}
"""Of those measures that are no percentages."""


def measured_value(summary: Summary, measure: Measure) -> float:
    """Return one number of a run; see `scenario.Measure` for the units.

    Args:
        summary: of the run, and what `counting.carried` counts.
        measure: which number.
    """
    clients = len(summary["model_by_client"])
    values: dict[str, Callable[[], float]] = {
        "best": lambda: _percent(summary["best_accuracy"]),
        "last": lambda: _percent(summary["final_accuracy"]),
        "upload": lambda: summary["floats_up_per_client"] * clients / 1e6,
        "download": lambda: summary["numbers_down_per_client"] * clients / 1e6,
        "both": lambda: measured_value(summary, "upload") + measured_value(summary, "download"),
        "bytes up": lambda: summary["bytes_up_per_client"] / 1e3,
        "bytes down": lambda: summary["bytes_down_per_client"] / 1e3,
        "seconds": lambda: summary["seconds_per_round"],
        "all bytes up": lambda: summary["all_bytes_up_per_client"] / 1e3,
        "all bytes down": lambda: summary["all_bytes_down_per_client"] / 1e3,
        "core seconds": lambda: summary["seconds"]["processor"],
    }
    return float(values[measure]())


def _percent(accuracy: float | None) -> float:
    """Return an accuracy in percent.

    Raises:
        RunError: if there is none.
    """
    if accuracy is None:
        problem = "has no accuracy: no client has a test sample"
        raise RunError("run", problem, "give the clients test samples")
    return 100 * accuracy


def table(plan: Plan, runs: Runs) -> dict[str, dict[str, Entry]]:
    """Return the entries of all cells that have been run."""
    scenario = plan.scenario
    found: dict[str, dict[str, Entry]] = {row.name: {} for row in plan.rows}
    for column in plan.columns:
        for measure in scenario.measures:
            heading = scenario.heading(column, measure)
            for row in plan.rows:
                if summaries := runs.get(Cell(row.name, column.name)):
                    values_S = [measured_value(summary, measure) for summary in summaries]
                    published = scenario.published(row.name, column, measure)
                    found[row.name][heading] = entry(values_S, published)
    return found


def entry(values_S: Sequence[float], published: Sequence[float]) -> Entry:
    """Put trials beside a published mean and std, either of which may be missing."""
    mean = statistics.fmean(values_S)
    std = statistics.pstdev(values_S) if len(values_S) > 1 else None
    paper = published[0] if published else None
    paper_std = published[1] if len(published) > 1 else None
    differs = None
    if paper is not None and (std is not None or paper_std is not None):
        joint = math.hypot(std or 0.0, paper_std or 0.0)
        differs = abs(mean - paper) > TIMES * joint
    return Entry(mean, std, paper, paper_std, differs)


def orders(found: Table, headings: Sequence[str]) -> dict[str, float]:
    """Return how alike the order of the rows is, ours and the published, by heading.

    Spearman's rank correlation: 1 for the same order, -1 for the opposite one. Headings with fewer
    than three rows in both are left out.
    """
    correlations = {}
    for heading in headings:
        pairs_M = [
            (row[heading].mean, row[heading].paper)
            for row in found.values()
            if heading in row and row[heading].paper is not None
        ]
        if len(pairs_M) >= 3:
            ours_M, papers_M = zip(*pairs_M, strict=True)
            correlations[heading] = spearman(ours_M, papers_M)
    return correlations


def spearman(first_M: Sequence[float], second_M: Sequence[float]) -> float:
    """Return the rank correlation of two rows of numbers; 0 where one is the same throughout."""
    ranks = _ranks(first_M), _ranks(second_M)
    if any(len(set(each)) == 1 for each in ranks):
        return 0.0
    return statistics.correlation(*ranks)


def _ranks(values_M: Sequence[float]) -> list[float]:
    """Return each value's rank; equal values share the mean of theirs."""
    ordered = sorted(values_M)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values_M]


def markdown(plan: Plan, scale: Scale, found: Table) -> str:
    """Return the whole page: the question, the table, how cells are judged, what differs."""
    scenario = plan.scenario
    headings = scenario.headings(plan.columns)
    rows = [
        [name, *(format_entry(row.get(heading), bold=scale == "paper") for heading in headings)]
        for name, row in found.items()
    ]
    parts = [f"# {scenario.title}", scenario.question, f"Source: {scenario.source}."]
    parts.append(_lines(["", *headings], rows))
    parts += _judged(plan, scale, found, headings)
    if units := [f"{each}: {UNITS[each]}" for each in scenario.measures if each in UNITS]:
        parts.append(f"Units: {'; '.join(units)}.")
    return "\n\n".join(parts) + "\n"


def _judged(plan: Plan, scale: Scale, found: Table, headings: Sequence[str]) -> list[str]:
    """Return the paragraphs below the table."""
    other = ", each with a partition of its own" if plan.scenario.trials == "partition" else ""
    trials = f"Ours: mean ± population standard deviation of {plan.seeds} trials{other}"
    trials = trials if plan.seeds > 1 else "Ours: one trial"
    if scale == "paper":
        rule = f"**bold** where the means are more than {TIMES:g} joint standard deviations apart"
        return [f"{trials}; the published in brackets; {rule}."]
    note = plan.scenario.cpu.note if plan.scenario.cpu else ""
    parts = [
        f"{trials}, at a scale for CPUs: not comparable with the published, in brackets. {note}"
    ]
    if stands := [f"{each.name} beside {each.beside}" for each in plan.columns if each.beside]:
        parts.append(f"Published numbers: {'; '.join(stands)}.")
    if correlations := orders(found, headings):
        text = "; ".join(f"{heading} {value:+.2f}" for heading, value in correlations.items())
        parts.append(f"Order of the rows against the published one (Spearman): {text}.")
    return [part.strip() for part in parts]


def format_entry(found: Entry | None, bold: bool = True) -> str:
    """Return a number, its spread, and the published ones in brackets."""
    if found is None:
        return ""
    ours = _spread(found.mean, found.std)
    if found.paper is None:
        return ours
    text = f"{ours} ({_spread(found.paper, found.paper_std)})"
    return f"**{text}**" if bold and found.differs else text


def _spread(mean: float, std: float | None) -> str:
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
