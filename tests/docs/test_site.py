"""The site: it builds without a warning, is complete, and asks nothing of other machines."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tools.docs import glossary, outside

ROOT = Path(__file__).parents[2]
WORDS = {"prototype": "prototype", "ledger": "ledger"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does; strict: a link or an anchor that leads nowhere fails."""
    folder = tmp_path_factory.mktemp("built") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class _Asked(HTMLParser):
    """Collects what a browser fetches by itself as it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(found.get("src") or "")
        if tag == "link":
            self.addresses.append(found.get("href") or "")


def test_the_site_asks_nothing_of_other_machines(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    for page in pages:
        asked = _Asked()
        asked.feed(page.read_text())
        for address in asked.addresses:
            assert not re.match(r"(https?:)?//", address), (page, address)
    for sheet in (site / "assets" / "stylesheets").glob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text()), sheet


def test_every_page_of_docs_is_in_the_navigation(site: Path) -> None:
    """Those that mkdocs.yml does not name are there too, under "More"."""
    start = (site / "index.html").read_text()
    linked = set(re.findall(r'<a href="([^"#:]+\.html)" class="md-nav__link', start))
    for file in (ROOT / "docs").rglob("*.md"):
        address = file.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / address).is_file()
        assert address in linked | {"index.html"} or "index.html" in address, address


def test_pages_outside_docs_are_linked_properly(site: Path) -> None:
    text = (site / "reference.html").read_text()
    assert 'href="project/ARCHITECTURE.html"' in text
    assert "FedTGP" in (site / "project" / "index.html").read_text()
    assert (site / "project" / "CHANGELOG.html").is_file()


def test_the_first_of_each_word_leads_to_the_glossary(site: Path) -> None:
    text = (site / "explanations" / "fedtgp.html").read_text()
    links = re.findall(r'class="glossary" href="([^"]+)"', text)
    assert "../glossary.html#prototype" in links
    assert len(links) == len(set(links))
    anchors = set(re.findall(r'<h3 id="([^"]+)"', (site / "glossary.html").read_text()))
    assert set(glossary.words().values()) <= anchors


def test_links_of_a_page_in_docs() -> None:
    text = "[a](../README.md#install) [b](fedktl.md) [c](../pyproject.toml) [d](https://x.example)"
    expected = (
        "[a](project/README.md#install) [b](fedktl.md) c (`pyproject.toml`) [d](https://x.example)"
    )
    assert outside.relinked("docs/index.md", text) == expected


def test_links_of_the_readme() -> None:
    text = "[a](docs/device.md) [b](#here) ![c](docs/images/ktl.png) [`t`](tools/wheels.py)"
    expected = "[a](../device.md) [b](#here) ![c](../images/ktl.png) `t`"
    assert outside.relinked("README.md", text) == expected


def test_code_is_left_as_it_is() -> None:
    text = "```md\n[a](../README.md)\n```\n"
    assert outside.relinked("docs/index.md", text) == text
    assert list(outside.targets("docs/index.md", text)) == []


def test_a_link_that_leads_nowhere_stays_one_for_the_strict_build() -> None:
    found = outside.relinked("docs/index.md", "[a](../nowhere.md)")
    assert found == "[a](project/nowhere.md)"


def test_words_are_linked_once_and_not_in_links_titles_or_code() -> None:
    html = (
        "<h2>A prototype</h2><p><code>prototype</code> <a href='x'>Prototypes</a> "
        "Prototypes &amp; prototypes<br/>of a ledger</p>"
    )
    link = '<a class="glossary" href="g.html#{}">{}</a>'
    expected = html.replace(
        "Prototypes &amp;", link.format("prototype", "Prototypes") + " &amp;"
    ).replace("a ledger", "a " + link.format("ledger", "ledger"))
    assert glossary.linked(html, WORDS, "g.html") == expected


def test_words_with_other_meanings_are_not_linked() -> None:
    assert "prototype" in glossary.words()
    assert not {"client", "run", "base"} & glossary.words().keys()
