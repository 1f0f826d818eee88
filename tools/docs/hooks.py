"""What MkDocs calls while it builds the site; see mkdocs.yml."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # MkDocs loads this file by its path

from tools.docs import cards, commands, configuration, glossary, interfaces, outside  # noqa: E402

MORE = "More"
"""Where pages of docs/ are in the navigation that mkdocs.yml does not name."""


@cache
def generated() -> dict[str, str]:
    """Return the pages that are made from the code, by their paths on the site."""
    return {
        **commands.pages(),
        **configuration.pages(),
        **cards.pages(),
        **interfaces.pages(),
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation: folders of generated pages, and pages that nobody has named."""
    nav: list[Any] = _filled(config.nav or [])
    named = set(_pages_of(nav))
    docs = Path(config.docs_dir)
    found = sorted(each.relative_to(docs).as_posix() for each in docs.rglob("*.md"))
    if left := [page for page in found if page not in named]:
        nav.append({MORE: left})
    config.nav = nav
    return config


def _filled(entries: list[Any]) -> list[Any]:
    """Return a navigation in which a path that ends with a slash is all generated pages there."""
    filled: list[Any] = []
    for entry in entries:
        if isinstance(entry, str) and entry.endswith("/"):
            pages = sorted(page for page in generated() if page.startswith(entry))
            filled += sorted(pages, key=lambda page: not page.endswith("index.md"))
        elif isinstance(entry, dict):
            filled.append(
                {
                    name: _filled(inner) if isinstance(inner, list) else inner
                    for name, inner in entry.items()
                }
            )
        else:
            filled.append(entry)
    return filled


def _pages_of(entries: list[Any]) -> list[str]:
    found: list[str] = []
    for entry in entries:
        for inner in entry.values() if isinstance(entry, dict) else (entry,):
            found += _pages_of(inner) if isinstance(inner, list) else [inner]
    return found


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and those of the repository that are not in docs/."""
    for path, text in generated().items():
        files.append(File.generated(config, path, content=text))
    for file in outside.wanted():
        source = str(ROOT / file)
        files.append(File.generated(config, outside.place_of(file), abs_src_path=source))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have a page's links lead to where its targets are on the site."""
    path = page.file.src_uri
    if path in generated():
        return markdown
    prefix = f"{outside.PROJECT}/"
    file = path.removeprefix(prefix) if path.startswith(prefix) else f"{outside.DOCS}/{path}"
    return outside.relinked(file, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link the words that the glossary explains."""
    target = files.get_file_from_path("glossary.md")
    if target is None or page.file.src_uri == "glossary.md":
        return html
    there = get_relative_url(target.url, page.url)
    return glossary.linked(html, glossary.words(), there)
