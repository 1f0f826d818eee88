"""Draws victims above what was found of them."""

import io
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from simulations.privacy.attack_result import AttackResult
from simulations.privacy.similarity import psnr
from simulations.privacy.study import Key

COLUMNS = 8


def picture(cases: Mapping[Key, AttackResult]) -> bytes:
    """Draw the first image of every seed and its PSNR, two rows an algorithm and number, as PNG."""
    groups: dict[tuple[str, int], list[AttackResult]] = {}
    for key, case in cases.items():
        groups.setdefault((key.algorithm, key.samples), []).append(case)
    columns = min(COLUMNS, max(map(len, groups.values())))
    figure = Figure(figsize=(1.6 + columns, 2.1 * len(groups)), dpi=110, layout="constrained")
    grid = figure.subplots(2 * len(groups), columns, squeeze=False)
    for place, ((name, samples), found) in enumerate(groups.items()):
        pair = grid[2 * place : 2 * place + 2]
        label = f"{name}\n{samples} image{'s' if samples > 1 else ''}"
        pair[0][0].set_ylabel(label, rotation=0, ha="right", va="center")
        for row in pair:
            for axes in row:
                _bare(axes)
        for above, below, case in zip(*pair, found, strict=False):
            _draw(above, case.originals[0])
            _draw(below, case.reconstructions[0])
            below.set_xlabel(f"{_first(case):.1f} dB", fontsize=7)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _first(case: AttackResult) -> float:
    return float(psnr(case.reconstructions[:1], case.originals[:1]))


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _draw(axes: Axes, image: Tensor) -> None:
    shown = image.permute(1, 2, 0).squeeze(2) if image.shape[0] == 1 else image.permute(1, 2, 0)
    axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1)
