"""A browser on a real stack: six devices answer rounds, and a person pauses, resumes and evicts.

See `browsing` for what it needs, besides a broker.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeloop.runtime.child_processes import edgeloop, environment
from edgeloop.runtime.ports import free_port
from tests.cloud.console.browsing import (
    chromium,
    needs_browser,
    opened,
    picture,
    serious_problems,
)
from tests.cloud.console.serving import Running, console
from tests.world import StartBroker

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = [*needs_browser(), pytest.mark.broker]

DEVICES = tuple(f"press-{number}" for number in range(6))
STACK = """
folder = "{folder}"
broker = {{ port = {broker}, plain = true }}

[[aggregators]]
name = "doors"
algorithm = "fedproto"
class_names = ["open", "shut", "ajar"]
shape = [1, 8, 8]
width = 8
rounds = 100000
history = true
http = {{ port = {http} }}
cohort = {{ devices = {devices}, quorum = 3, grace_seconds = 0 }}
"""


@contextmanager
def process(log: Path, *words: str) -> Iterator[None]:
    """Run a command of ours while a block runs."""
    with log.open("wb") as said:
        found = subprocess.Popen(edgeloop(*words), stdout=said, stderr=said, env=environment())
    try:
        yield
    finally:
        found.terminate()
        found.wait(60)
        sys.stdout.write(log.read_text())


@pytest.fixture
def running(start_broker: StartBroker, tmp_path: Path) -> Iterator[Running]:
    port, file = free_port(), tmp_path / "stack.toml"
    facts = {"folder": tmp_path / "stack", "broker": port, "http": free_port()}
    file.write_text(STACK.format(devices=list(DEVICES), **facts).replace("'", '"'))
    with ExitStack() as stack:
        stack.enter_context(process(tmp_path / "up.log", "up", "--config", str(file)))
        server = stack.enter_context(console(tmp_path / "server", stack=str(file)))
        server.wait("/api/v1/tasks/doors", lambda task: task["state"] == "Running", 120)
        words = ["--devices", "6", "--task", "doors", "--port", str(port), "--spread", "0.3"]
        stack.enter_context(process(tmp_path / "fleet.log", "fleet", *words))
        server.wait("/api/v1/tasks/doors", lambda task: task["round"] >= 2, 120)
        yield server


def pressed(page: Any, button: str) -> None:
    """Press a button of a task's page, and come back to it."""
    page.get_by_role("button", name=button, exact=True).click()
    page.get_by_role("link", name="To the task").click()


def test_a_fleet_of_six_is_paused_resumed_and_rid_of_a_device(running: Running) -> None:
    def task() -> Any:
        return running.ask("/api/v1/tasks/doors").json()

    errors: list[str] = []
    with chromium() as browser:
        page = opened(browser, running, "operator", errors)
        page.get_by_role("link", name="doors").click()
        round_shown = page.locator("#round")
        seen = round_shown.inner_text()
        sync_api.expect(round_shown).not_to_have_text(seen, timeout=20_000)  # it is live
        assert page.get_by_role("row", name="press-").count() == 6
        pressed(page, "Pause")
        running.wait("/api/v1/tasks/doors", lambda found: found["state"] == "Paused", 60)
        sync_api.expect(page.locator("b.state")).to_have_text("Paused", timeout=20_000)
        held = task()["round"]
        pressed(page, "Resume")
        running.wait("/api/v1/tasks/doors", lambda found: found["round"] > held + 1, 90)
        page.get_by_role("link", name="press-3").click()
        page.get_by_role("button", name="Evict").click(timeout=90_000)
        page.get_by_role("link", name="To the task").click()
        running.wait("/api/v1/tasks/doors/devices/press-3", lambda found: found["evicted"], 60)
        page.goto(f"{running.url}/tasks/doors")
        row = page.get_by_role("row", name="press-3")
        assert "evicted" in row.inner_text()
        held = task()["round"]
        running.wait("/api/v1/tasks/doors", lambda found: found["round"] > held + 1, 60)
        page.goto(f"{running.url}/tasks/doors/knowledge")
        page.get_by_role("img", name="Map of").wait_for()
        assert serious_problems(page) == []
        picture(page, "fleet-of-six")
    assert errors == []
    rounds = running.ask(f"/api/v1/runs/{task()['run']}/rounds?limit=1000").json()["items"]
    assert [each["number"] for each in rounds] == list(range(len(rounds)))
    assert all(each["bytes_up"] and each["median"] is not None for each in rounds[-3:-1])
    device = running.ask("/api/v1/tasks/doors/devices/press-1").json()
    assert device["received"] > 0
    assert device["last_answer"] is not None
    _check_wrong_role(running)
    acts = [each["act"] for each in running.ask("/api/v1/audit", "admin").json()["items"]]
    assert {"pause", "resume", "evict", "http 403"} <= set(acts)


def _check_wrong_role(running: Running) -> None:
    """A viewer's page has no button, and its browser may not do what they do."""
    with chromium() as browser:
        page = opened(browser, running, "viewer", [])
        page.get_by_role("link", name="doors").click()
        assert page.get_by_role("button").all_inner_texts() == ["Sign out"]
        cookies = {each["name"]: each["value"] for each in page.context.cookies()}
    answer = httpx.post(f"{running.url}/tasks/doors/pause", cookies=cookies)
    assert answer.status_code == 403
    assert running.ask("/api/v1/tasks/doors").json()["state"] == "Running"
