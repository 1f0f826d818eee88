"""A running stack heeds what is wanted of its tasks: pause, resume, cancel; and says how it is."""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud.stack import control
from cloud.stack.control import Control
from cloud.stack.part import Part
from cloud.stack.supervisor import Supervisor
from edgeloop.cli.stopping import STOPPED
from edgeloop.errors import ConfigError

HEEDS = f"""
import signal, sys
def stop(*_):
    print({STOPPED!r}, flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("works", flush=True)
while True:
    signal.pause()
"""


def part(name: str, task: str, pauses: bool) -> Part:
    return Part(name, (sys.executable, "-c", HEEDS), ends=True, task=task, pauses=pauses)


def states(folder: Path) -> dict[str, str]:
    return {each.name: each.state for each in control.parts_of(folder) or ()}


def wait(met: Callable[[], bool]) -> None:
    given_up = time.monotonic() + 20
    while not met():
        assert time.monotonic() < given_up
        time.sleep(0.02)


def run_with(folder: Path, parts: list[Part], act: Callable[[], None]) -> list[str]:
    """Run a stack here while another thread acts on it; its act must end the stack."""
    said: list[str] = []
    failed: list[BaseException] = []

    def acting() -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)
            for each in parts:
                control.ask(folder, each.task, "Cancelled")

    thread = threading.Thread(target=acting)
    thread.start()
    Supervisor(
        [parts], lambda name, line: said.append(f"{name}: {line}"), control=Control(folder)
    ).run()
    thread.join()
    if failed:
        raise failed[0]
    return said


def test_a_task_is_paused_resumed_and_cancelled(tmp_path: Path) -> None:
    parts = [part("doors", "doors", True), part("a@doors", "doors", False)]

    def act() -> None:
        wait(lambda: states(tmp_path) == {"doors": "running", "a@doors": "running"})
        control.ask(tmp_path, "doors", "Paused")
        wait(lambda: states(tmp_path) == {"doors": "paused", "a@doors": "running"})
        control.ask(tmp_path, "doors", "Running")
        wait(lambda: states(tmp_path) == {"doors": "running", "a@doors": "running"})
        control.ask(tmp_path, "doors", "Cancelled")

    said = run_with(tmp_path, parts, act)
    assert "up: ends doors: paused" in said
    assert "up: all work is done" in said
    assert control.parts_of(tmp_path) is None


def test_a_task_that_was_paused_is_paused_after_the_next_start(tmp_path: Path) -> None:
    control.ask(tmp_path, "doors", "Paused")

    def act() -> None:
        wait(lambda: states(tmp_path) == {"doors": "paused", "press": "running"})
        control.ask(tmp_path, "doors", "Running")
        wait(lambda: states(tmp_path)["doors"] == "running")
        for task in ("doors", "press"):
            control.ask(tmp_path, task, "Cancelled")

    parts = [part("doors", "doors", True), part("press", "press", True)]
    said = run_with(tmp_path, parts, act)
    assert "up: does not start doors: its task is not to run" in said


def test_a_cancelled_task_is_not_run_again(tmp_path: Path) -> None:
    control.ask(tmp_path, "doors", "Cancelled")
    with pytest.raises(ConfigError, match="was cancelled, which is for good"):
        control.ask(tmp_path, "doors", "Running")
    said = run_with(tmp_path, [part("doors", "doors", True)], lambda: None)
    assert "up: starts doors" not in said


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": "Flying"}', '{"state": 1}'])
def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path, content: str) -> None:
    place = tmp_path / "control" / "wanted"
    place.mkdir(parents=True)
    (place / "doors.json").write_text(content)
    assert control.wanted(tmp_path, "doors") == "Running"


def test_a_stack_that_was_killed_does_not_run(tmp_path: Path) -> None:
    place = tmp_path / "control"
    place.mkdir()
    (place / "parts.json").write_text('{"process": 2147480000, "parts": []}')
    assert control.parts_of(tmp_path) is None


@pytest.mark.parametrize("before", ["Running", "Paused"])
def test_a_damaged_file_is_said_and_what_was_wanted_stays(
    tmp_path: Path, before: control.Wanted
) -> None:
    file = tmp_path / "control" / "wanted" / "doors.json"
    heard = Control(tmp_path)
    control.ask(tmp_path, "doors", before)
    assert (heard.wanted("doors"), heard.problem("doors")) == (before, "")
    file.write_text("{")
    assert heard.wanted("doors") == before
    assert heard.problem("doors") == f"{file} is damaged: {before.lower()}, as before; ask again"
    assert control.problem(tmp_path, "doors") == f"{file} is damaged"
    control.ask(tmp_path, "doors", "Running")
    assert (heard.wanted("doors"), heard.problem("doors")) == ("Running", "")


def test_a_running_stack_says_once_that_a_file_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "control" / "wanted" / "doors.json"

    def act() -> None:
        wait(lambda: states(tmp_path) == {"doors": "running", "press": "running"})
        control.ask(tmp_path, "doors", "Paused")
        wait(lambda: states(tmp_path)["doors"] == "paused")
        file.write_text("{")
        control.ask(tmp_path, "press", "Paused")  # a second task, so that a look has passed
        wait(lambda: states(tmp_path)["press"] == "paused")
        control.ask(tmp_path, "press", "Running")
        wait(lambda: states(tmp_path)["press"] == "running")  # a whole look after the damage
        control.ask(tmp_path, "doors", "Cancelled")
        control.ask(tmp_path, "press", "Cancelled")

    said = run_with(tmp_path, [part("doors", "doors", True), part("press", "press", True)], act)
    problem = f"up: {file} is damaged: paused, as before; ask again"
    assert said.count(problem) == 1
    assert said.count("up: starts doors") == 1
