"""Draws what devices gain over being alone, a panel a factor."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.grid import ALONE, WAYS, Setting, mixes
from benchmarks.judging import Seen
from edgeloop.statistics.paired import Paired

COLUMNS = 2


def picture(settings: Mapping[str, Setting], every: Sequence[Seen]) -> bytes:
    """Draw means and 95 % intervals in points of accuracy, as PNG.

    Filled: what a way led to, class statistics with their own weight; hollow: with `auto`.
    """
    shown = [each for each in every if each.way != ALONE]
    factors = list(dict.fromkeys(settings[each.setting].factor for each in shown))
    lines = max(1, -(-len(factors) // COLUMNS))
    figure = Figure(figsize=(12.0, 3.6 * lines), dpi=110, layout="constrained")
    places = figure.subplots(lines, COLUMNS, squeeze=False).flatten()
    for axes, factor in zip(places, factors, strict=False):
        _panel(axes, factor, settings, [e for e in shown if settings[e.setting].factor == factor])
    for axes in places[len(factors) :]:
        axes.set_axis_off()
    named: dict[str, Artist] = {}
    for axes in places:
        handles, labels = axes.get_legend_handles_labels()
        named.update(zip(labels, handles, strict=True))
    figure.legend(list(named.values()), list(named), loc="outside upper center", ncols=len(WAYS))
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _panel(axes: Axes, factor: str, settings: Mapping[str, Setting], shown: Sequence[Seen]) -> None:
    names = list(dict.fromkeys(each.setting for each in shown))
    ways = [way for way in WAYS if way != ALONE]
    for number, way in enumerate(ways):
        found = [each for each in shown if each.way == way]
        place = {e.setting: names.index(e.setting) + 0.16 * (number - 2) for e in found}
        runs = [(place[each.setting], each.run) for each in found]
        mixed = [(place[e.setting] + 0.06, e.mix) for e in found if e.mix and mixes(way)]
        _bars(axes, runs, color=f"C{number}", label=way)
        _bars(axes, mixed, color=f"C{number}", mfc="white")
    axes.axhline(0.0, color="0.4", linewidth=0.8)
    axes.set_xticks(range(len(names)), [settings[name].value for name in names])
    axes.tick_params(axis="x", labelsize="small", labelrotation=12)
    axes.set_title(factor, fontsize="medium")
    axes.set_ylabel("points over alone")
    axes.grid(axis="y", color="0.9")


def _bars(axes: Axes, found: Sequence[tuple[float, Paired]], **style: Any) -> None:
    drawn = [(x, each.mean, each.ci95) for x, each in found if each.mean is not None and each.ci95]
    means = [100 * mean for _, mean, _ in drawn]
    below = [100 * (mean - low) for _, mean, (low, _) in drawn]
    above = [100 * (high - mean) for _, mean, (_, high) in drawn]
    places = [x for x, *_ in drawn]
    axes.errorbar(places, means, yerr=[below, above], fmt="o", ms=4, capsize=2, **style)
