"""Draws what devices gain with `mix = auto` over being alone, a panel a factor."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.grid import ALONE, WAYS, Setting
from benchmarks.judging import Seen

COLUMNS = 2


def picture(settings: Mapping[str, Setting], every: Sequence[Seen]) -> bytes:
    """Draw means and 95 % intervals in points of accuracy, as PNG."""
    shown = [each for each in every if each.way != ALONE]
    factors = list(dict.fromkeys(settings[each.setting].factor for each in shown))
    lines = max(1, -(-len(factors) // COLUMNS))
    figure = Figure(figsize=(12.0, 3.6 * lines), dpi=110, layout="constrained")
    places = figure.subplots(lines, COLUMNS, squeeze=False).flatten()
    for axes, factor in zip(places, factors, strict=False):
        _panel(axes, factor, settings, [e for e in shown if settings[e.setting].factor == factor])
    for axes in places[len(factors) :]:
        axes.set_axis_off()
    named: dict[str, object] = {}
    for axes in places:
        handles, labels = axes.get_legend_handles_labels()
        named.update(zip(labels, handles, strict=True))
    figure.legend(named.values(), named.keys(), loc="outside upper center", ncols=len(WAYS))
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _panel(axes: Axes, factor: str, settings: Mapping[str, Setting], shown: Sequence[Seen]) -> None:
    names = list(dict.fromkeys(each.setting for each in shown))
    ways = [way for way in WAYS if way != ALONE]
    for number, way in enumerate(ways):
        found = [each for each in shown if each.way == way and each.mix.ci95 is not None]
        offset = 0.12 * (number - (len(ways) - 1) / 2)
        means = [100 * (each.mix.mean or 0.0) for each in found]
        bounds = [each.mix.ci95 or (0.0, 0.0) for each in found]
        spread = [
            [mean - 100 * low for mean, (low, _) in zip(means, bounds, strict=True)],
            [100 * high - mean for mean, (_, high) in zip(means, bounds, strict=True)],
        ]
        places = [names.index(each.setting) + offset for each in found]
        axes.errorbar(places, means, yerr=spread, fmt="o", ms=4, capsize=2, label=way)
    axes.axhline(0.0, color="0.4", linewidth=0.8)
    axes.set_xticks(range(len(names)), [settings[name].value for name in names])
    axes.tick_params(axis="x", labelsize="small", labelrotation=12)
    axes.set_title(factor, fontsize="medium")
    axes.set_ylabel("points over alone")
    axes.grid(axis="y", color="0.9")
