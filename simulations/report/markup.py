"""HTML in which every text is escaped, because markup is a type of its own."""

from collections.abc import Sequence
from html import escape

UNKNOWN = "-"
"""What a table says of a number that nobody knows."""
_VOID = ("img", "meta", "br")  # elements that have no end


class Html(str):
    """Markup; any other text is escaped before it becomes markup."""


def tag(name: str, *children: str, **attributes: object) -> Html:
    """Return an element.

    Args:
        name: of the element.
        children: what it holds; a text that is no `Html` is escaped.
        attributes: `class_` is written as class, `stroke_width` as stroke-width; floats are
            rounded to hundredths.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
    )
    end = "" if name in _VOID else f"</{name}>"
    return Html(f"<{name}{written}>{join_children(children)}{end}")


def join_children(children: Sequence[str]) -> Html:
    """Return children one after the other; what is no `Html` is escaped."""
    return Html("".join(each if isinstance(each, Html) else escape(each) for each in children))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return a table that scrolls sideways where the screen is narrow.

    Args:
        columns: their heads.
        rows: as many cells each as there are columns; the first is the row's head.
    """
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    body = (
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:]))
        for row in rows
    )
    return scrolling(tag("table", tag("thead", head), tag("tbody", *body)))


def scrolling(content: Html) -> Html:
    """Let wide content scroll sideways by itself."""
    return tag("div", content, class_="wide")


def paragraph(*children: str) -> Html:
    """Return a paragraph."""
    return tag("p", *children)


def missing(reason: str) -> Html:
    """Say why a section is left out."""
    return tag("p", reason, class_="missing")


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
