"""Links words of edgeloop's own to the glossary: the first time that a page says one."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "glossary.md"
_SILENT = ("a", "code", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "script", "style", "button")
"""Elements whose words are left as they are."""

_EMPTY = ("br", "hr", "img", "input", "meta", "link", "source", "col", "wbr")


def words() -> dict[str, str]:
    """Return the words that are linked, and each one's anchor: headings of the glossary's page.

    A heading such as "prototype" has its plural with it; what is under "Words that mean what they
    mean elsewhere too" is not linked, for most pages say it without this meaning.
    """
    text = PAGE.read_text(encoding="utf-8").partition("## Words that have other meanings too")[0]
    found = {}
    for title in re.findall(r"^### (.+)$", text, re.MULTILINE):
        anchor = title.lower().replace(",", "").replace(" ", "-")
        for word in title.split(", "):
            found[word.lower()] = anchor
    return found


class _Linker(HTMLParser):
    """Writes HTML again, with links at the first time that it says one of the words."""

    def __init__(self, anchors: Mapping[str, str], page: str) -> None:
        super().__init__(convert_charrefs=False)
        self._left = dict(anchors)
        self._page = page
        self._within: list[str] = []
        self.parts: list[str] = []
        ordered = sorted(anchors, key=len, reverse=True)
        self._any = re.compile(rf"\b({'|'.join(map(re.escape, ordered))})s?\b", re.IGNORECASE)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append(self.get_starttag_text() or "")
        if tag not in _EMPTY:
            self._within.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"</{tag}>")
        if tag in self._within:
            while self._within.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        said = not any(tag in _SILENT for tag in self._within)
        self.parts.append(self._any.sub(self._link, data) if said else data)

    def _link(self, found: re.Match[str]) -> str:
        word = found[1].lower()
        anchor = self._left.get(word)
        if anchor is None:
            return found[0]
        self._left = {key: each for key, each in self._left.items() if each != anchor}
        return f'<a class="glossary" href="{self._page}#{anchor}">{found[0]}</a>'

    def handle_entityref(self, name: str) -> None:
        self.parts.append(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.parts.append(f"&#{name};")

    def handle_comment(self, data: str) -> None:
        self.parts.append(f"<!--{data}-->")


def linked(html: str, anchors: Mapping[str, str], page: str) -> str:
    """Return a page's HTML with the first of each word linked.

    Args:
        html: of the page's content.
        anchors: of `words`.
        page: the glossary's address, as that page reaches it.
    """
    linker = _Linker(anchors, page)
    linker.feed(html)
    linker.close()
    return "".join(linker.parts)
