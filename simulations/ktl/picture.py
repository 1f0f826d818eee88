"""Draws the baselines beside the paper's."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure


def picture(summary: Mapping[str, Any], paper: Mapping[str, tuple[float, float]]) -> bytes:
    """Draw each baseline's runs, mean and 95 % interval, and the paper's mean and std, as PNG."""
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for place, (name, found) in enumerate(summary["baselines"].items()):
        mean, half = 100 * found["mean"], 100 * (found["ci95"] or 0.0)
        label = "edgeloop, mean ± 95 %" if place == 0 else None
        axes.errorbar(place, mean, half, fmt="o", color="0.1", capsize=4, label=label)
        runs = [100 * value for value in found["runs"]]
        axes.plot([place - 0.12] * len(runs), runs, ".", color="0.6")
        if name in paper:
            axes.errorbar(
                place + 0.15, *paper[name], fmt="s", color="tab:orange", capsize=4, mfc="white"
            )
    if paper:
        axes.plot([], [], "s", color="tab:orange", mfc="white", label="paper, mean ± std")
    names = list(summary["baselines"])
    axes.set_xticks(range(len(names)), names)
    axes.set(title=f"One client, {summary['shots']} shots", ylabel="best test accuracy, %")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="best")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
