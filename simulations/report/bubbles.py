"""Who has what: clients by classes, a disc for the samples of a class that a client has.

Shape suffixes: M clients, C classes.
"""

import math
from collections.abc import Sequence

from simulations.report.markup import Html, tag

CELL, LEFT, BELOW = 18.0, 130.0, 70.0
_LONGEST = 20


def bubbles(
    label: str,
    clients: Sequence[str],
    classes: Sequence[str],
    counts_MC: Sequence[Sequence[int]],
    colour: str,
) -> Html:
    """Draw a disc for every client and class, its area as the samples are.

    Args:
        label: what the chart shows, for those who cannot see it.
        clients: names, one a row.
        classes: names, one a column.
        counts_MC: samples.
        colour: as CSS writes it.
    """
    most = max((max(row, default=0) for row in counts_MC), default=0) or 1
    rows = [
        _row(name, counts, classes, place, most, colour)
        for place, (name, counts) in enumerate(zip(clients, counts_MC, strict=True))
    ]
    foot = CELL * len(clients) + 8
    heads = [_head(name, _middle(place), foot) for place, name in enumerate(classes)]
    wide, high = LEFT + CELL * len(classes) + 50, foot + BELOW
    chart = tag(
        "svg",
        *rows,
        *heads,
        viewBox=f"0 0 {wide:g} {high:g}",
        width=wide,
        height=high,
        role="img",
        aria_label=label,
    )
    caption = f"{label}; the largest disc is {most:,} samples"
    return tag(
        "figure", tag("div", chart, class_="wide"), tag("figcaption", caption), class_="full"
    )


def _middle(place: int) -> float:
    return LEFT + CELL * (place + 0.5)


def _row(
    name: str, counts: Sequence[int], classes: Sequence[str], place: int, most: int, colour: str
) -> Html:
    y = CELL * (place + 0.5)
    discs = [
        tag(
            "circle",
            tag("title", f"{name}, {class_name}: {count:,}"),
            cx=_middle(column),
            cy=y,
            r=max(0.8, math.sqrt(count / most) * (CELL / 2 - 0.5)),
            fill=colour,
        )
        for column, (class_name, count) in enumerate(zip(classes, counts, strict=True))
        if count
    ]
    total = tag("text", f"{sum(counts):,}", x=_middle(len(classes)), y=y + 4, text_anchor="start")
    line = tag("line", x1=LEFT, x2=_middle(len(classes)) - CELL / 2, y1=y, y2=y, class_="rule")
    head = tag("text", _short(name), x=LEFT - 6, y=y + 4, text_anchor="end")
    return tag("g", line, head, *discs, total)


def _head(name: str, x: float, y: float) -> Html:
    turn = f"rotate(-50 {x:g} {y:g})"
    return tag("text", _short(name, 14), x=x, y=y, text_anchor="end", transform=turn)


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
