"""A short seeded part of `make chaos`; and chaos that must be told as such."""

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos import machine
from tests.chaos.comparing import differences
from tests.chaos.episodes import Chaos
from tests.chaos.plan import LASTS, Plan
from tests.chaos.supervised import EndedError, Supervised
from tests.devices import wait_until
from tests.processes import running
from tests.world import StartBroker

NAMES = ("aggregator", "broker", "database", "device-0", "device-1")


def show(text: str) -> None:
    sys.stdout.write(f"{text}\n")


@pytest.mark.broker
@pytest.mark.timeout(600)
def test_a_run_comes_to_the_same_through_faults(tmp_path: Path, start_broker: StartBroker) -> None:
    """Progress is shown with `-s`."""
    start_broker()  # skips where there is no Mosquitto
    run = Chaos(tmp_path, seed=7, faults=12, say=show)
    assert run.run().startswith("identical: 12 faults, ")
    assert run.tally.faults.total() == 12


def test_the_same_seed_gives_the_same_faults() -> None:
    drawn = [Plan(3, list(LASTS), NAMES).fault(number) for number in range(500)]
    assert drawn == [Plan(3, list(LASTS), NAMES).fault(number) for number in range(500)]
    assert drawn != [Plan(4, list(LASTS), NAMES).fault(number) for number in range(500)]
    assert {each.kind for each in drawn} == set(LASTS)
    killed = Counter(each.target for each in drawn if each.kind == "kill")
    assert set(killed) == set(NAMES)
    assert all(low <= each.seconds <= high for each in drawn for low, high in [LASTS[each.kind]])


def test_a_fault_depends_on_its_number_alone() -> None:
    plan = Plan(3, ["kill", "cut"], NAMES)
    assert plan.fault(9) == [plan.fault(number) for number in range(10)][9]
    assert replace(plan, targets=("aggregator",)).fault(9).target == "aggregator"


def test_what_differs_is_told() -> None:
    one = {"a": 1, "b": 2}
    assert differences(one, one) == []
    assert differences(one, {"a": 1, "b": 3}) == ["b: 3 instead of 2"]
    assert differences(one, {"a": 1}) == ["b: None instead of 2"]


def part(tmp_path: Path, program: str) -> Supervised:
    return Supervised("part", [sys.executable, "-c", program], tmp_path / "log")


def polled(part: Supervised) -> Supervised:
    part.poll()
    return part


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_part_that_ends_with_a_bug_or_wrong_input_ends_the_chaos(
    tmp_path: Path, code: int
) -> None:
    failing = part(tmp_path, f"import sys; sys.stderr.write('why'); sys.exit({code})")
    failing.start()
    with pytest.raises(EndedError, match=rf"part has ended with {code}: (?s:.*)why"):
        wait_until(lambda: polled(failing).done)


@pytest.mark.parametrize("code", [73, 75])
def test_a_part_that_is_to_be_tried_again_is_started_again(tmp_path: Path, code: int) -> None:
    trying = part(tmp_path, f"import sys; sys.exit({code})")
    trying.start()
    wait_until(lambda: polled(trying).starts == 2)
    assert set(trying.endings) == {code}
    trying.stop()


def test_a_part_that_was_killed_is_started_again(tmp_path: Path) -> None:
    running = part(tmp_path, "import time; time.sleep(600)")
    running.start()
    assert running.kill(0.0)
    assert not running.kill(0.0)
    running.poll()
    assert running.starts == 2
    running.stop()


@pytest.mark.skipif("full" in machine.unable(), reason="only root may mount a small disk")
def test_a_small_disk_fills_up(tmp_path: Path) -> None:
    with machine.small_disk(tmp_path / "small", 2**20):
        machine.fill(tmp_path / "small")
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "small" / "more").write_bytes(b"1" * 4096)
        machine.free(tmp_path / "small")
        (tmp_path / "small" / "more").write_bytes(b"1" * 4096)


def test_no_disk_but_a_small_one_is_filled(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="the machine's own disk"):
        machine.fill(tmp_path)


@pytest.mark.skipif("clock" in machine.unable(), reason="no C compiler")
def test_a_process_has_a_clock_of_its_own(tmp_path: Path) -> None:
    program = """
import sys, time
from datetime import datetime
before = time.monotonic()
print(int(time.time()), int(datetime.now().timestamp()), flush=True)
sys.stdin.readline()
print(int(time.time()), int(datetime.now().timestamp()), time.monotonic() - before < 60)
"""
    variables = machine.clock_variables(machine.false_clock(tmp_path), tmp_path / "clock")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {**os.environ, **variables}
    with running([sys.executable, "-c", program], env=environment, **pipes) as process:
        assert process.stdout is not None
        first = process.stdout.readline().split()
        machine.set_clock(tmp_path / "clock", -86_400)
        told, _ = process.communicate("\n")
    then = told.split()
    now = int(time.time())
    assert all(abs(int(each) - now) < 60 for each in first)
    assert all(abs(int(each) - now + 86_400) < 60 for each in then[:2])
    assert then[2] == "True"
