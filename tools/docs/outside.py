"""Pages of the repository that are not in docs/, and links to and from them.

A page that docs/ links to (README.md, CHANGELOG.md, a table of measurements) is on the site under
project/, by its own path. What is no page, such as a program, becomes its name.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = "docs"
PROJECT = "project"
PAGES = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
    "helm/edgeloop/README.md",
)
"""Pages that are on the site, whoever links to them."""

SHOWN = (".md", ".png", ".svg", ".jpg")
"""Files that a site can show."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def place_of(file: str) -> str:
    """Return where a file of the repository is on the site, from the site's root.

    Args:
        file: its path from the repository's root.
    """
    if file.startswith(f"{DOCS}/"):
        return file.removeprefix(f"{DOCS}/")
    return f"{PROJECT}/{file}"


def targets(file: str, text: str) -> Iterator[str]:
    """Yield the files of the repository that a page links to, by their paths from its root."""
    for _, _, target, _ in _LINK.findall(_without_code(text)):
        if target and "://" not in target and not target.startswith("mailto:"):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(file), target))


def wanted() -> list[str]:
    """Return the files outside docs/ that the site needs, by their paths from the root."""
    found: set[str] = set()
    waiting = [
        *PAGES,
        *(each.relative_to(ROOT).as_posix() for each in (ROOT / DOCS).rglob("*.md")),
    ]
    while waiting:
        file = waiting.pop()
        if file in found or not (ROOT / file).is_file():
            continue
        found.add(file)
        if file.endswith(".md"):
            linked = targets(file, (ROOT / file).read_text(encoding="utf-8"))
            waiting += [each for each in linked if each.endswith(SHOWN)]
    return sorted(each for each in found if not each.startswith(f"{DOCS}/"))


def relinked(file: str, text: str) -> str:
    """Return a page's text with its links as they are on the site.

    Args:
        file: the page's path from the repository's root.
        text: its Markdown.
    """
    here = posixpath.dirname(place_of(file))

    def link(found: re.Match[str]) -> str:
        mark, words, target, anchor = found[1], found[2], found[3], found[4] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        there = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        if (ROOT / there).exists() and not there.endswith(SHOWN):
            return words if words.startswith("`") else f"{words} (`{there}`)"
        return f"{mark}[{words}]({posixpath.relpath(place_of(there), here or '.')}{anchor})"

    return _outside_code(text, lambda part: _LINK.sub(link, part))


def _without_code(text: str) -> str:
    return _FENCE.sub("", text)


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts, at = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, change(text[at:])])
