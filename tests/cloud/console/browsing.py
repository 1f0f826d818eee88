"""Pages in a real browser, for the tests: Playwright for Python drives a chromium on the path.

axe-core's script is looked for in $EDGELOOP_AXE, else in the user's cache (tools/axe.sh puts it
there); $EDGELOOP_SCREENSHOTS names a folder for pictures of the pages.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.console.serving import Running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
AXE = Path(os.environ.get("EDGELOOP_AXE", CACHE / "edgeloop" / "axe")) / "axe.min.js"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def needs_browser() -> list[Any]:
    """Return the marks of a module of tests in a browser."""
    reason = "there is no chromium on the path"
    return [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason=reason)]


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


def opened(browser: Any, running: Running, role: str, errors: list[str], **context: Any) -> Any:
    """Sign in; return the page, whose console's errors are added to a list."""
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(20_000)
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(running.url)
    page.get_by_label("Token").fill(running.tokens[role])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Fleet").wait_for()
    return page


def serious_problems(page: Any) -> list[str]:
    """Return what axe-core finds on a page that is serious; nothing where it is not installed."""
    if not AXE.is_file():
        if os.environ.get("CI"):
            pytest.fail("axe-core is not installed: run tools/axe.sh")
        return []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    said = page.evaluate("axe.run()")
    assert said["passes"]  # it has looked
    return [
        f"{each['id']}: {each['nodes'][0]['html'][:200]}"
        for each in said["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def picture(page: Any, name: str) -> None:
    """Write a picture of a page, if somebody wants some."""
    folder = os.environ.get("EDGELOOP_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(300)
        page.screenshot(path=f"{folder}/console-{name}.png")
