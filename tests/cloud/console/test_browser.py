"""The pages in a real browser: live, by role, readable by assistive technology, without an error.

Needs Playwright for Python and a chromium on the path. axe-core's script is looked for at
$EDGELOOP_AXE; $EDGELOOP_SCREENSHOTS names a folder for pictures of the pages.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.console.serving import Running, console_of, status

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the path"),
]
AXE = os.environ.get("EDGELOOP_AXE")
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
NAMES = ("doors", "hinges", "labels", "motors", "press", "welds")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


class Stands:
    """How far six runs are."""

    def __init__(self) -> None:
        self.round = 3

    def said(self, name: str) -> Any:
        return lambda: status(name, self.round)


@pytest.fixture
def stands() -> Stands:
    return Stands()


@pytest.fixture
def running(tmp_path: Path, stands: Stands) -> Iterator[Running]:
    with console_of(tmp_path, *(stands.said(each) for each in NAMES), names=NAMES) as found:
        found.wait("/api/v1/tasks", lambda page: len(page["items"]) == 6)
        yield found


def opened(chromium: Any, running: Running, role: str, errors: list[str], **context: Any) -> Any:
    page = chromium.new_context(**context).new_page()
    page.set_default_timeout(10_000)
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(running.url)
    page.get_by_label("Token").fill(running.tokens[role])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Fleet").wait_for()
    return page


def test_six_runs_are_live(chromium: Any, running: Running, stands: Stands) -> None:
    errors: list[str] = []
    page = opened(chromium, running, "viewer", errors)
    assert page.get_by_role("row").count() == 7
    page.get_by_role("link", name="doors").click()
    page.locator(".chart canvas").wait_for()
    assert page.locator("#round").inner_text() == "3"
    stands.round = 4
    sync_api.expect(page.locator("#round")).to_have_text("4", timeout=20_000)
    page.locator(".chart canvas").wait_for()
    assert errors == []


def test_it_is_used_by_keyboard(chromium: Any, running: Running) -> None:
    page = opened(chromium, running, "viewer", [])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_fit_and_axe_finds_nothing_serious(
    chromium: Any, running: Running, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    errors: list[str] = []
    look = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    page = opened(chromium, running, "admin", errors, **look)
    for path in ("/", "/tasks/doors", "/tasks/doors/devices/press-1", "/refusals", "/audit"):
        page.goto(running.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        _picture(page, path, f"{size}-{scheme}")
        assert errors == []
        _check_accessible(page, path)


def _check_accessible(page: Any, path: str) -> None:
    if AXE is None:
        return
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    serious = [each["id"] for each in found if each["impact"] in ("serious", "critical")]
    assert serious == [], path


def _picture(page: Any, path: str, look: str) -> None:
    folder = os.environ.get("EDGELOOP_SCREENSHOTS")
    names = {"/": "fleet", "/tasks/doors": "task"}
    if folder and path in names:
        page.wait_for_timeout(300)
        page.screenshot(path=f"{folder}/console-{names[path]}-{look}.png")
