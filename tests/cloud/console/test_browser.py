"""The pages in a real browser: live, by role, readable by assistive technology, without an error.

See `browsing` for what they need.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud.aggregator.http import Details
from cloud.aggregator.ledger import PastRound
from cloud.console.rollouts.store import RolloutStore
from cloud.console.store import Store
from edgeloop.protocol.rollout import Outcome
from edgeloop.remote.rollouts import NewGroup, Rollout
from tests.cloud.console.browsing import (
    SIZES,
    chromium,
    needs_browser,
    opened,
    picture,
    serious_problems,
)
from tests.cloud.console.serving import Running, aggregator, console, status
from tests.cloud.console.test_knowledge import write
from tests.cloud.console.test_rollout_store import begun

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = needs_browser()
CLASSES = ("open", "shut", "ajar", "torn", "locked")
NAMES = ("doors", "hinges", "labels", "motors", "press", "welds")
KNOWLEDGE = "/tasks/doors/knowledge"
ROLLOUT = "/rollouts/r2"
PICTURES = {
    "/": "fleet",
    "/tasks/doors": "task",
    KNOWLEDGE: "knowledge",
    "/rollouts": "rollouts",
    ROLLOUT: "rollout",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def _exchanged(number: int) -> dict[str, Any]:
    """Return prototypes that come apart round by round, and images of stripes."""
    draw, classes = np.random.default_rng(number), len(CLASSES)
    labels, devices = np.tile(np.arange(classes), 4), np.repeat([0, 1, 0, 1], classes)
    centres = 3.0 * number * np.eye(classes)
    prototypes = (centres[labels] + draw.normal(size=(len(labels), classes))).astype(np.float32)
    rows, columns = np.mgrid[:8, :8]
    images = [((rows * (n + 1) + columns * number) * 16 % 256).ravel() for n in range(classes)]
    uploads = {"labels": labels, "devices": devices, "prototypes": prototypes}
    sent = {"broadcast.prototypes_CD": centres.astype(np.float32)}
    return uploads | sent | {"broadcast.images_NP": np.array(images, np.uint8)}


class Stands:
    """How far six runs are."""

    def __init__(self) -> None:
        self.round = 3

    def said(self, name: str) -> Any:
        return lambda: status(name, self.round).model_copy(
            update={
                "class_names": CLASSES,
                "shape": (1, 8, 8),
                "history": tuple(map(_past, range(self.round))),
            }
        )


def _past(number: int) -> PastRound:
    accuracy, measures = 0.1 * number, {"discrepancy": 1 / (number + 1)}
    spread = {"low": accuracy, "median": accuracy + 0.1, "high": accuracy + 0.2}
    return PastRound(number, 4, accuracy + 0.1, 1.5, 4000, 9000, measures=measures, **spread)


def _roll_out(server: Path) -> None:
    """Have one roll-out that has ended, and one whose second group is at work."""
    with closing(Store(f"sqlite:///{server / 'server.sqlite'}")) as store:
        kept = RolloutStore(store)
        names = [f"press-{number}" for number in range(4)]
        for rollout, name in (("r1", "winter"), ("r2", "spring")):
            groups = NewGroup(name="canary", error=0), NewGroup(name="others", error=0.6)
            found = begun(kept, rollout, name, groups, [names[:2], names[2:]])
            _say(kept, found, "applied", *names[:2])
            kept.group_succeeds(rollout, 0)
            kept.begin_group(found, 1)
            if rollout == "r1":
                _say(kept, found, "applied", *names[2:])
                kept.group_succeeds(rollout, 1)
                kept.become(rollout, ("running",), "succeeded")
        _say(kept, found, "fetching", "press-2")
        _say(kept, found, "failed", "press-3", reason="its canary finds it worse")


def _say(kept: RolloutStore, found: Rollout, state: Any, *names: str, reason: str = "") -> None:
    serial = kept.newest_serial(found.rollout)
    facts: dict[str, Any] = {"rollout": found.rollout, "serial": serial, "kind": found.kind}
    told = Outcome(**facts, state=state, reason=reason)
    assert kept.hear(found.task, [(name, told) for name in names])


@pytest.fixture
def stands() -> Stands:
    return Stands()


@pytest.fixture
def running(tmp_path: Path, stands: Stands) -> Iterator[Running]:
    for number in range(3):
        write(tmp_path / "history", number, **_exchanged(number))
    details = Details(history=tmp_path / "history")
    with ExitStack() as stack:
        urls = [stack.enter_context(aggregator(stands.said(each), details)) for each in NAMES]
        followed = [{"name": name, "url": url} for name, url in zip(NAMES, urls, strict=True)]
        found = stack.enter_context(console(tmp_path / "server", aggregators=followed))
        found.wait("/api/v1/tasks", lambda page: len(page["items"]) == 6)
        _roll_out(tmp_path / "server")
        yield found


def test_six_runs_are_live(browser: Any, running: Running, stands: Stands) -> None:
    errors: list[str] = []
    page = opened(browser, running, "viewer", errors)
    assert page.get_by_role("row").count() == 7
    page.get_by_role("link", name="doors").click()
    page.locator(".chart canvas").first.wait_for()
    assert page.locator(".chart canvas").count() == 2
    assert page.locator("#round").inner_text() == "3"
    stands.round = 4
    sync_api.expect(page.locator("#round")).to_have_text("4", timeout=20_000)
    page.locator(".chart canvas").first.wait_for()
    assert errors == []


def test_a_slider_goes_through_the_rounds(browser: Any, running: Running) -> None:
    errors: list[str] = []
    page = opened(browser, running, "viewer", errors)
    page.goto(running.url + KNOWLEDGE)
    image = page.get_by_role("img", name="Image of open after round")
    sync_api.expect(image).to_have_attribute("alt", "Image of open after round 2")
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    sync_api.expect(image).to_have_attribute("alt", "Image of open after round 1")
    page.wait_for_function("document.querySelector('.images img').naturalWidth > 0")
    assert page.locator("#chosen").inner_text() == "1"
    page.get_by_label("Number").fill("0")
    sync_api.expect(image).to_have_attribute("alt", "Image of open after round 0")
    assert slider.input_value() == "0"
    assert errors == []


def test_a_roll_out_shows_its_devices_by_state(browser: Any, running: Running) -> None:
    errors: list[str] = []
    page = opened(browser, running, "operator", errors)
    page.get_by_role("link", name="Roll-outs").click()
    page.get_by_role("link", name="spring").click()
    devices = page.get_by_role("region", name="Devices").get_by_role("row")
    assert devices.count() == 5
    page.get_by_role("link", name="Failed").focus()
    page.keyboard.press("Enter")
    sync_api.expect(devices).to_have_count(2, timeout=20_000)
    page.get_by_role("link", name="Failed").focus()
    page.evaluate("document.querySelector('#main h1').dataset.old = 'yes'")
    old = page.locator("#main h1[data-old]")
    sync_api.expect(old).to_have_count(0, timeout=20_000)  # it has been brought up to date
    assert devices.count() == 2
    assert page.evaluate("document.activeElement.textContent") == "Failed"
    assert "its canary finds it worse" in devices.last.inner_text()
    assert errors == []


def test_it_is_used_by_keyboard(browser: Any, running: Running) -> None:
    page = opened(browser, running, "viewer", [])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_fit_and_axe_finds_nothing_serious(
    browser: Any, running: Running, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    errors: list[str] = []
    look = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    page = opened(browser, running, "admin", errors, **look)
    others = ("/tasks/doors/devices/press-1", "/refusals", "/audit")
    for path in (*PICTURES, *others):
        page.goto(running.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        if path in PICTURES:
            picture(page, f"{PICTURES[path]}-{size}-{scheme}")
        assert errors == []
        assert serious_problems(page) == [], path
