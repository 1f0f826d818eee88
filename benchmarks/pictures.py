"""Draws accuracies over rounds, a panel for each world.

Shape suffixes: S seeds, T rounds.
"""

import io
import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Lines = Mapping[str, Sequence[Sequence[float]]]
"""By name: accuracies (S, T)."""


def curves(panels: Mapping[str, Lines]) -> bytes:
    """Draw the seeds' mean, and lowest to highest around it, as PNG."""
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(12.0, 3.8 * rows), dpi=120, layout="constrained")
    places = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, (title, lines) in zip(places, panels.items(), strict=False):
        _panel(axes, title, lines)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    places[0].legend(loc="lower right")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _panel(axes: Axes, title: str, lines: Lines) -> None:
    for name, runs_ST in lines.items():
        by_round_TS = list(zip(*runs_ST, strict=True))
        rounds = range(len(by_round_TS))
        means_T = [statistics.fmean(each) for each in by_round_TS]
        first = name == next(iter(lines))
        (line,) = axes.plot(rounds, means_T, "--" if first else "-", label=name)
        if first:
            line.set_color("0.2")
        axes.fill_between(
            rounds,
            [min(each) for each in by_round_TS],
            [max(each) for each in by_round_TS],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axes.set(title=title, xlabel="round", ylabel="accuracy")
    axes.grid(color="0.9")
