"""The report's page: one file that needs no other, light or dark, wide or narrow."""

from collections.abc import Callable, Mapping

from simulations.report import losses, overview, sections, traffic
from simulations.report.markup import Html, tag
from simulations.report.report_data import ReportData

SECTIONS: dict[str, Callable[[ReportData], Html]] = {
    "Accuracy, alone and federated": sections.accuracy,
    "Every device": sections.devices,
    "What the generator makes of every class": sections.images,
    "A map of the prototypes": sections.prototypes,
    "Bytes and floats": traffic.section,
    "Timings": sections.timings,
    "Facts": sections.facts,
}

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing from elsewhere
_STYLE = """
:root { color-scheme: light dark; --ground: #fcfcfb; --ink: #1c1e21; --faint: #62666d;
  --rule: #dcdee2; --alone: #a8682a; --federated: #1f6fb2; }
@media (prefers-color-scheme: dark) { :root { --ground: #16181b; --ink: #e7e8ea; --faint: #9aa0a8;
  --rule: #34383e; --alone: #e0a15e; --federated: #62b0ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 84rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2.5rem; border-bottom: 1px solid var(--rule); }
p { max-width: 42rem; }
.missing { color: var(--faint); font-style: italic; }
section { scroll-margin-top: 1rem; }
@media (min-width: 64rem) { section, section > div:not(.wide) { display: grid; gap: 0 2rem;
    grid-template-columns: repeat(2, minmax(0, 1fr)); align-items: start; }
  section > *, section > div:not(.wide) > * { grid-column: 1 / -1; }
  section > figure:has(+ .wide), section > .wide, section > div:not(.wide) > figure,
  section > div:not(.wide) > .wide { grid-column: auto; } }
figure { margin: 0; max-width: 44rem; min-width: 0; }
figure.full { max-width: none; grid-column: 1 / -1; }
.lead { font-size: 1.1rem; font-weight: 600; max-width: 60rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .7rem;
  padding: 0; margin: 1rem 0; list-style: none; }
.tiles li { border: 1px solid var(--rule); border-radius: .5rem; padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.contents ol { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; padding-left: 1.2rem; }
.contents a { color: var(--federated); display: inline-block; padding: .3rem 0; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
figcaption { color: var(--faint); font-size: .85rem; }
svg.chart { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 14px system-ui, sans-serif; }
@media (min-width: 40rem) { svg.chart text { font-size: 11px; } }
svg .hit { fill: transparent; }
svg g:hover > .hit, svg .hit:hover { fill: color-mix(in srgb, var(--ink) 25%, transparent); }
svg .rule { stroke: var(--rule); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0; margin: .4rem 0;
  list-style: none; font-size: .9rem; }
.legend svg { width: 1em; height: 1em; margin-right: .3em; vertical-align: -.1em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th:first-child { text-align: left; }
thead th { color: var(--faint); font-weight: normal; }
.images td { padding: .15rem; }
tbody th { position: sticky; left: 0; background: var(--ground); }
.images img { display: block; height: 3.5rem; min-width: 3.5rem; margin-left: auto;
  image-rendering: pixelated; }
.facts th, .facts td { white-space: normal; overflow-wrap: anywhere; text-align: left; }
summary { cursor: pointer; }
.loud { border: 2px solid var(--alone); padding: .4rem .8rem; font-weight: 600; }
tr.differs th, tr.differs td { background: color-mix(in srgb, var(--federated) 14%, transparent); }
"""


def render(report_data: ReportData) -> str:
    """Return the report as HTML that refers to nothing outside itself."""
    made = {name: section(report_data) for name, section in SECTIONS.items()}
    last = {name: made.pop(name) for name in ("Timings", "Facts")}
    return assemble(
        report_data.title,
        {**made, **losses.of_task(report_data), **last},
        overview.lead(report_data),
        overview.tiles(report_data),
    )


def assemble(
    title: str,
    sections: Mapping[str, Html],
    above: Html | None = None,
    tiles: Mapping[str, str] | None = None,
) -> str:
    """Return a page of titled sections as HTML that refers to nothing outside itself.

    Args:
        title: of the page.
        sections: by their titles; the list of contents has them, too.
        above: what stands before all of them.
        tiles: the numbers that count, by what they are.
    """
    places = {name: f"part-{number}" for number, name in enumerate(sections, start=1)}
    parts = [
        tag("section", tag("h2", name), content, id=places[name])
        for name, content in sections.items()
    ]
    first = [] if above is None else [above]
    if tiles:
        cells = (tag("li", tag("b", value), name) for name, value in tiles.items())
        first.append(tag("ul", *cells, class_="tiles"))
    body = tag("body", tag("h1", title), *first, _contents(places), tag("main", *parts))
    return Html(f"<!doctype html>\n{tag('html', _head(title), body, lang='en')}\n")


def _contents(places: Mapping[str, str]) -> Html:
    links = (tag("li", tag("a", name, href=f"#{place}")) for name, place in places.items())
    return tag("nav", tag("ol", *links), class_="contents", aria_label="Contents")


def _head(title: str) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        Html(f"<style>{_STYLE}</style>"),
    )
