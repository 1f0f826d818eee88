"""Small pieces of Markdown that the generated pages have in common."""

from collections.abc import Iterable, Sequence

NOTE = "<!-- Generated from the code: do not edit. -->"
"""In each generated page, below its title."""


def cell(text: object) -> str:
    """Return text as a table's cell: one line, without a bar that would end it."""
    return " ".join(str(text).split()).replace("|", "\\|")


def plain(text: object) -> str:
    """Return prose as Markdown that shows it letter by letter; quoted code stays code."""
    parts = str(text).split("`")
    escaped = [
        part if number % 2 else part.translate({ord(sign): f"\\{sign}" for sign in "*_<>[]"})
        for number, part in enumerate(parts)
    ]
    return "`".join(escaped)


def code(text: object) -> str:
    """Return text as code; an empty one as nothing."""
    shown = " ".join(str(text).split())
    return f"`{shown}`" if shown else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, or nothing where it has no rows."""
    lines = [list(columns), ["---"] * len(columns), *([cell(each) for each in row] for row in rows)]
    if len(lines) == 2:
        return ""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def page(title: str, *parts: str) -> str:
    """Return a generated page."""
    return "\n\n".join([f"# {title}", NOTE, *(part.strip() for part in parts if part.strip())])
