"""Charts as inline SVG, in the page's own colours, light or dark."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from simulations.report.markup import Html, tag

WIDTH, HEIGHT = 400.0, 240.0  # the page scales a chart to its own width
LEFT, RIGHT, TOP, BOTTOM = 56.0, 14.0, 12.0, 44.0  # margins
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "M-3.6-3.6h7.2v7.2h-7.2Z",
    "M0-5L5 0L0 5L-5 0Z",
    "M0-4.8L4.6 3.6H-4.6Z",
    "M0 4.8L4.6-3.6H-4.6Z",
    "M-4.8 0L3.6-4.6V4.6Z",
    "M4.8 0L-3.6-4.6V4.6Z",
    "M-5-1.7h10v3.4h-10Z",
)
"""Markers; they come again hollow, and then once more from the beginning."""
MOST_HITS = 200
"""Points of a line that say their value."""
CROSS = "M-6-6L6 6M6-6L-6 6"
_DISTINCT = (
    *("#3f88c5", "#f08c2e", "#3fa34d", "#d64545", "#9467bd"),
    *("#a3705c", "#e377c2", "#808080", "#b5a91f", "#1fb5c4"),
)


@dataclass(frozen=True)
class Series:
    """A line: values by round, in a colour as CSS writes it; and a band around it, low and high."""

    name: str
    points: Mapping[int, float]
    colour: str
    dashed: bool = False
    band: Mapping[int, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """A point of a map; without a marker's number it is a cross."""

    place: tuple[float, float]
    title: str
    colour: str
    marker: int | None = None


def colour(number: int, count: int) -> str:
    """Return one of `count` colours that differ; readable on light and on dark ground."""
    if count <= len(_DISTINCT):
        return _DISTINCT[number]
    return f"hsl({number * 360 // count} 62% {(44, 58)[number % 2]}%)"


def ticks(top: float, most: int = 5) -> list[float]:
    """Return 0 and round numbers after it, the last of which is not below `top`."""
    if top <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(top / most))
    step = next(power * each for each in (1, 2, 5, 10, 20) if power * each * most >= top)
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def lines(label: str, series: Sequence[Series], unit: str, top: float | None = None) -> Html:
    """Draw lines over rounds, with a legend.

    Args:
        label: what the chart shows, for those who cannot see it.
        series: with one point or more among them.
        unit: of the values.
        top: the largest value that the axis reaches; from the points if not given.
    """
    rounds = sorted({number for each in series for number in each.points})
    first, last = rounds[0], max(rounds[-1], rounds[0] + 1)
    heights = ticks(max(max(each.points.values(), default=0) for each in series))
    heights = heights if top is None else ticks(top)

    def place(number: int, value: float) -> tuple[float, float]:
        x = LEFT + (number - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - value / heights[-1] * (HEIGHT - TOP - BOTTOM)

    grid = [_rule(_short(value), place(first, value)[1]) for value in heights]
    steps = [int(first + step) for step in ticks(last - first) if step % 1 == 0]
    below = [
        _text(f"{number}", place(number, 0)[0], HEIGHT - BOTTOM + 17, "middle")
        for number in steps
        if number <= last
    ]
    below.append(_text("round", (WIDTH + LEFT) / 2, HEIGHT - 4, "middle"))
    bands = [_band(each, place) for each in series if each.band]
    drawn = [
        *bands,
        *(_line(each, [place(*point) for point in sorted(each.points.items())]) for each in series),
        *(_hits(each, place, unit) for each in series),
    ]
    return tag(
        "figure",
        _canvas(label, HEIGHT, [*grid, *below, *drawn]),
        tag("figcaption", f"{label}, {unit}"),
        legend((each.name, each.colour, SHAPES[0], False) for each in series),
    )


def _line(series: Series, places: Sequence[tuple[float, float]]) -> Html:
    style = {"stroke_dasharray": "5 3"} if series.dashed else {}
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    line = tag(
        "polyline", points=corners, fill="none", stroke=series.colour, stroke_width=2, **style
    )
    dots = [tag("circle", cx=x, cy=y, r=2.5, fill=series.colour) for x, y in places]
    return tag("g", line, *(dots if len(dots) <= 40 else []))  # more would be a thick line


def _hits(series: Series, place: Callable[[int, float], tuple[float, float]], unit: str) -> Html:
    """Return what a pointer finds: a place that says its value, for each point or many of them."""
    points = sorted(series.points.items())
    step = -(-len(points) // MOST_HITS)
    found = []
    for number, value in points[::-1][::step]:  # the last one is always there
        x, y = place(number, value)
        title = tag("title", f"{series.name}, round {number}: {value:.4g} {unit}")
        found.append(tag("circle", title, cx=x, cy=y, r=7, class_="hit"))
    return tag("g", *found)


def _band(series: Series, place: Callable[[int, float], tuple[float, float]]) -> Html:
    pairs = sorted(series.band.items())
    edge = [
        *(place(number, high) for number, (_, high) in pairs),
        *(place(number, low) for number, (low, _) in reversed(pairs)),
    ]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
    return tag("polygon", points=corners, fill=series.colour, fill_opacity=0.16)


def bars(label: str, groups: Mapping[str, Mapping[str, float]], colours: Mapping[str, str]) -> Html:
    """Draw horizontal bars of values in [0, 1], with a legend.

    Args:
        label: what the chart shows, for those who cannot see it.
        groups: values by bar's name, by group's name.
        colours: by bar's name.
    """
    thick, gap = 16.0, 8.0
    step = gap + thick * len(colours)
    left, wide = 104.0, WIDTH - 104.0 - 52.0
    drawn = []
    for row, (name, values) in enumerate(groups.items()):
        begin = TOP + row * step
        shown = name if len(name) <= 13 else name[:12] + "…"
        drawn.append(_text(shown, left - 6, begin + step / 2, "end"))
        for place, (bar, value) in enumerate(values.items()):
            y = begin + place * thick
            size = {"x": left, "y": y, "width": value * wide, "height": thick - 1}
            title = tag("title", f"{name}, {bar}: {value:.3f}")
            drawn.append(tag("rect", title, fill=colours[bar], **size))
            drawn.append(_text(f"{value:.3f}", left + value * wide + 4, y + thick - 4, "start"))
    return tag(
        "figure",
        _canvas(label, TOP + step * len(groups), drawn),
        tag("figcaption", label),
        legend((name, each, SHAPES[1], False) for name, each in colours.items()),
    )


def scatter(label: str, marks: Sequence[Mark], side: float = 360.0) -> Html:
    """Draw a map of points, to the same scale in both directions, without a legend."""
    xs, ys = zip(*(mark.place for mark in marks), strict=True)
    extent = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    scale = (side - 40) / extent

    def place(mark: Mark) -> Html:
        x = WIDTH / 2 + (mark.place[0] - (max(xs) + min(xs)) / 2) * scale
        y = side / 2 - (mark.place[1] - (max(ys) + min(ys)) / 2) * scale
        title = tag("title", mark.title)
        path, hollow = (CROSS, True) if mark.marker is None else shape(mark.marker)
        move = f"translate({x:.1f} {y:.1f})"
        return tag("path", title, d=path, transform=move, **_paint(mark.colour, hollow))

    return tag("figure", _canvas(label, side, map(place, marks)), tag("figcaption", label))


def shape(number: int) -> tuple[str, bool]:
    """Return a marker's path, and whether it is hollow."""
    return SHAPES[number % len(SHAPES)], number // len(SHAPES) % 2 == 1


def legend(entries: Iterable[tuple[str, str, str, bool]]) -> Html:
    """Say what colours and markers mean: names, colours, paths, whether they are hollow."""
    items = (
        tag(
            "li",
            tag("svg", tag("path", d=path, **_paint(paint, hollow)), viewBox="-7 -7 14 14"),
            name,
        )
        for name, paint, path, hollow in entries
    )
    return tag("ul", *items, class_="legend")


def _paint(colour: str, hollow: bool) -> dict[str, object]:
    paint: dict[str, object] = {"fill": "none" if hollow else colour}
    return {**paint, "stroke": colour, "stroke_width": 1.6} if hollow else paint


def _canvas(label: str, height: float, content: Iterable[Html]) -> Html:
    box = f"0 0 {WIDTH:g} {height:g}"
    return tag("svg", *content, viewBox=box, role="img", aria_label=label, class_="chart")


def _rule(text: str, y: float) -> Html:
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="rule")
    return tag("g", line, _text(text, LEFT - 5, y + 4, "end"))


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(text: str, x: float, y: float, anchor: str) -> Html:
    return tag("text", text, x=x, y=y, text_anchor=anchor)
