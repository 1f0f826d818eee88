"""Parts that do not end, fail again and again, or are never ready; each is a real process."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from cloud.stack.part import Part
from cloud.stack.process_supervisor import ProcessSupervisor
from cloud.stack.supervisor import Supervisor
from edgeloop.errors import RunError, TakenError, UnavailableError
from edgeloop.runtime.child_processes import bound
from tests.cloud.stack.stacks import lives
from tests.devices import wait_until

STUBBORN = ("sh", "-c", 'trap "" TERM INT; echo here; while :; do sleep 0.1; done')

PROGRAM = f"""
import sys
from cloud.stack.part import Part
from cloud.stack.supervisor import Supervisor

def say(name, line):
    print(name, line, flush=True)

Supervisor([[Part("stubborn", {STUBBORN!r})]], say, stop_seconds=float(sys.argv[1])).run()
"""


def stubborn(stop_seconds: float) -> subprocess.Popen[str]:
    """Start a stack of one part that takes no hint; return when it runs."""
    command = [sys.executable, "-c", PROGRAM, str(stop_seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while process.stdout.readline() != "stubborn here\n":
        assert process.poll() is None
    return process


def test_a_second_signal_kills_at_once() -> None:
    with stubborn(stop_seconds=10_000) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        while "ends stubborn" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said


def test_who_does_not_end_in_time_is_killed() -> None:
    with stubborn(stop_seconds=0.2) as process:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said == ""


def kept(script: str, said: list[str], **options: object) -> ProcessSupervisor:
    part = Part("part", ("sh", "-c", script), **options)  # type: ignore[arg-type]
    return ProcessSupervisor(part, lambda name, line: said.append(line), restart_seconds=2.0)


def test_the_wait_between_two_starts_doubles_until_a_part_runs_well() -> None:
    said: list[str] = []
    process = kept("exit 1", said)
    now = 0.0
    process.start(now)
    for _ in range(6):
        wait_until(partial(_told, process, now, said))
        now += float(said.pop().split()[-2])
        process.poll(now)  # which starts it again
    assert now == 2.0 + 4.0 + 8.0 + 16.0 + 32.0 + 60.0
    now += 60.0
    wait_until(partial(_told, process, now, said))
    assert said.pop() == "has ended with exit code 1; started again in 2 s"


def _told(keeper: ProcessSupervisor, now: float, said: list[str], lines: int = 1) -> bool:
    keeper.poll(now)
    return len(said) >= lines


def test_bad_input_is_told_soon_and_tried_again_later() -> None:
    said: list[str] = []
    soon, later = (kept("echo 'error: x: is wrong; fix x'; exit 2", said) for _ in range(2))
    soon.start(0.0)
    with pytest.raises(RunError, match=r"^part: x: is wrong; fix x; "):
        wait_until(partial(_told, soon, 1.0, said, 2))
    later.start(0.0)
    wait_until(partial(_told, later, 100.0, said, 3))
    assert said[-1] == "has ended with exit code 2 (wrong input); started again in 2 s"


def test_what_another_process_has_is_told_soon() -> None:
    said: list[str] = []
    process = kept("echo 'error: ledger: is taken; stop it'; exit 73", said)
    process.start(0.0)
    with pytest.raises(TakenError, match=r"^part: ledger: is taken; stop it; "):
        wait_until(partial(_told, process, 1.0, said, 2))


def test_what_is_unavailable_is_tried_again_from_the_first_start_on() -> None:
    said: list[str] = []
    process = kept("exit 75", said)
    process.start(0.0)
    wait_until(partial(_told, process, 1.0, said))
    assert said == ["has ended with exit code 75 (unavailable now); started again in 2 s"]


def test_a_part_that_somebody_stops_has_not_done_its_work() -> None:
    said: list[str] = []
    stopped, done = (kept(script, said, ends=True) for script in ("echo stopped", "echo written"))
    for process, lines in ((stopped, 2), (done, 4)):
        process.start(0.0)
        wait_until(partial(_told, process, 1.0, said, lines))
    assert said[1] == "has ended with exit code 0; started again in 2 s"
    assert (stopped.done, done.done) == (False, True)


def test_what_a_part_leaves_behind_goes_with_it() -> None:
    said: list[str] = []
    process = kept("sleep 1000 & echo $!; exit 1", said)
    process.start(0.0)
    wait_until(partial(_told, process, 0.0, said, 2))
    wait_until(lambda: not lives(int(said[0])))


def test_a_part_that_is_never_ready_is_named() -> None:
    part = Part("late", ("sleep", "1000"), lambda: False)
    supervisor = Supervisor([[part]], lambda name, line: None, start_seconds=0.1)
    with pytest.raises(UnavailableError, match=r"^late: is not ready after 0.1 s"):
        supervisor.run()


def test_a_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    told = tmp_path / "process"
    child = bound(["sh", "-c", f"echo $$ > {told}.new; mv {told}.new {told}; sleep 1000"], 15)
    code = f"import subprocess; subprocess.Popen({child!r}).wait()"
    code = code.replace(child[4], "'+str(__import__('os').getpid())+'")
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        wait_until(told.exists)
        process = int(told.read_text())
        assert lives(process)
        parent.kill()
    wait_until(lambda: not lives(process))


def test_a_stack_whose_work_is_done_ends_its_services_and_lets_signals_be() -> None:
    before = signal.getsignal(signal.SIGTERM)
    said: list[str] = []
    service = Part("service", ("sleep", "1000"), is_service=True)
    work = Part("work", ("true",), ends=True)
    Supervisor([[service], [work]], lambda name, line: said.append(f"{name}: {line}")).run()
    assert said[-2:] == ["up: all work is done", "up: ends service"]
    assert signal.getsignal(signal.SIGTERM) is before
