"""Draws accuracies over rounds, a panel for each column of a table.

Shape suffixes: S seeds, T rounds.
"""

import io
import statistics
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Lines = Mapping[str, Sequence[Sequence[float]]]
"""By name: accuracies (S, T); a trial that stopped early has fewer rounds."""


def curves(panels: Mapping[str, Lines]) -> bytes:
    """Draw the seeds' mean, and lowest to highest around it, as PNG."""
    rows = (len(panels) + 1) // 2
    columns = min(2, len(panels))
    figure = Figure(figsize=(6.0 * columns, 3.8 * rows), dpi=120, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (title, lines) in zip(places, panels.items(), strict=False):
        _panel(axes, title, lines)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    named = places[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside right center", fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _panel(axes: Axes, title: str, lines: Lines) -> None:
    for number, (name, runs_ST) in enumerate(lines.items()):
        by_round = [
            [value for value in each if value is not None] for each in zip_longest(*runs_ST)
        ]
        rounds = range(len(by_round))
        means_T = [statistics.fmean(each) for each in by_round]
        style = {"color": "0.2", "linestyle": "--"} if not number else _style(number - 1)
        (line,) = axes.plot(rounds, means_T, label=name, **style)
        low_T, high_T = [min(each) for each in by_round], [max(each) for each in by_round]
        axes.fill_between(rounds, low_T, high_T, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_title(title, fontsize="medium")
    axes.set(xlabel="round", ylabel="accuracy")
    axes.grid(color="0.9")


def _style(number: int) -> dict[str, Any]:
    """Return a line's colour and dashes; where the colours begin again, the dashes differ."""
    turn, colour = divmod(number, 10)
    return {"color": f"C{colour}", "linestyle": ("-", ":", "-.")[turn % 3]}
