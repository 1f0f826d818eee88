"""Draws a study's baselines beside the paper's."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Published = Mapping[str, tuple[float, float]]


def picture(summary: Mapping[str, Any], paper: Published) -> bytes:
    """Draw each baseline's runs, mean and 95 % interval, and the paper's mean and std, as PNG."""
    return pictures({summary["shots"]: summary}, {summary["shots"]: paper})


def pictures(summaries: Mapping[int, Mapping[str, Any]], papers: Mapping[int, Published]) -> bytes:
    """Draw several studies side by side, each as `picture` does, by shots."""
    figure = Figure(figsize=(1.6 + 4.4 * len(summaries), 4.0), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(summaries), squeeze=False)[0]
    for axes, (shots, summary) in zip(panels, summaries.items(), strict=True):
        _panel(axes, summary["baselines"], papers.get(shots, {}))
        axes.set(title=f"one client, {shots} shots", ylabel="best test accuracy, %")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _panel(axes: Axes, baselines: Mapping[str, Any], paper: Published) -> None:
    for place, (name, found) in enumerate(baselines.items()):
        mean, half = 100 * found["mean"], 100 * (found["ci95"] or 0.0)
        label = "edgeloop, mean ± 95 %" if place == 0 else None
        axes.errorbar(place, mean, half, fmt="o", color="0.1", capsize=4, label=label)
        runs = [100 * value for value in found["runs"]]
        axes.plot([place - 0.12] * len(runs), runs, ".", color="0.6")
        if name in paper:
            mean, std = paper[name]
            axes.errorbar(
                place + 0.15, mean, std, fmt="s", color="tab:orange", capsize=4, mfc="white"
            )
    if paper:
        axes.plot([], [], "s", color="tab:orange", mfc="white", label="paper, mean ± std")
    axes.set_xticks(range(len(baselines)), list(baselines))
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="best")
