"""Starts the parts in order, keeps them running, ends them in order."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType

from cloud.stack.control import Control, PartState, PartStatus, Wanted
from cloud.stack.part import Part
from cloud.stack.process_supervisor import ProcessSupervisor
from edgeloop.errors import UnavailableError

POLL_SECONDS = 0.1
STACK = "up"
"""What the lines of the stack itself begin with."""


class StoppedError(Exception):
    """Somebody wants the stack to end."""


class Supervisor:
    """Keeps a stack running.

    Args:
        stages: parts that start together; a stage begins when the one before is ready.
        say: called with the name of a part, and a line.
        restart_seconds: before a part is started again; each time twice as long.
        start_seconds: how long a stage may take until it is ready.
        stop_seconds: how long a part may take to end before it is killed.
        held: file descriptors that each part holds as long as it lives.
        control: says what is wanted of tasks, and is told how the parts are; None for none.
        further: asked again and again for parts that have been added.
    """

    def __init__(  # noqa: PLR0913 - what each stack sets otherwise
        self,
        stages: Sequence[Sequence[Part]],
        say: Callable[[str, str], None],
        *,
        restart_seconds: float = 1.0,
        start_seconds: float = 300.0,
        stop_seconds: float = 30.0,
        held: tuple[int, ...] = (),
        control: Control | None = None,
        further: Callable[[], Sequence[Part]] = tuple,
    ) -> None:
        self._say, self._control, self._further = say, control, further
        self._supervised = partial(
            ProcessSupervisor, say=say, restart_seconds=restart_seconds, files=held
        )
        self._stages = [[self._supervised(part) for part in stage] for stage in stages]
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._started: list[ProcessSupervisor] = []
        self._stops = 0
        self._interrupted = self._runs = False
        self._problems: set[str] = set()
        self._woken = threading.Event()

    def run(self) -> bool:
        """Run the stack until its work is done, or until a signal; return whether it is done.

        SIGHUP has the parts that can read their files again. All have ended when this returns.

        Raises:
            RunError: if a part's input is wrong.
            TakenError: if another process has what a part needs.
            UnavailableError: if a part is not ready in time.
            KeyboardInterrupt: if SIGINT has ended it, or the end was asked for twice, and all were
                killed.
        """
        with self._listening():
            try:
                for stage in self._stages:
                    self._start(stage)
                self._say(STACK, "everything runs")
                self._runs = True
                self._wait_for(self._is_done, None)
                self._say(STACK, "all work is done")
            except StoppedError:
                self._say(STACK, "stops; a second signal kills")
            finally:
                self._end()
                if self._control is not None:
                    self._control.close()
        if self._stops > 1 or self._interrupted:
            raise KeyboardInterrupt
        return not self._stops

    def _start(self, stage: Sequence[ProcessSupervisor]) -> None:
        for process in stage:
            self._begin(process)
        vital = [process for process in stage if process.part.vital]
        if not self._wait_for(
            lambda: all(process.ready() for process in vital), self._start_seconds
        ):
            late = next(process.part.name for process in vital if not process.ready())
            problem = f"is not ready after {self._start_seconds:g} s"
            remedy = "see its lines above, or give start_seconds more"
            raise UnavailableError(late, problem, remedy)

    def _begin(self, process: ProcessSupervisor) -> None:
        self._started.append(process)
        if self._may_run(process):
            self._say(STACK, f"starts {process.part.name}")
            process.start(time.monotonic())
        else:
            process.hold(time.monotonic())
            self._say(STACK, f"does not start {process.part.name}: its task is not to run")

    def _take_up(self) -> None:
        """Start parts that have been added since."""
        for part in self._further():
            process = self._supervised(part)
            self._stages.append([process])
            self._begin(process)

    def _is_done(self) -> bool:
        """Return whether all aggregators and agents are done; never, if one stays or lingers."""
        working = [process for process in self._started if not process.part.is_service]
        return bool(working) and all(
            process.done or self._state(process) == "cancelled" for process in working
        )

    def _wait_for(self, met: Callable[[], bool], seconds: float | None) -> bool:
        """Look after all parts until something is so; tell whether it was in time."""
        given_up = None if seconds is None else time.monotonic() + seconds
        while not met():
            if self._stops:
                raise StoppedError
            now = time.monotonic()
            if given_up is not None and now > given_up:
                return False
            self._heed(now)
            if self._runs:
                self._take_up()
            for process in self._started:
                process.poll(now)
            self._woken.wait(POLL_SECONDS)
        return True

    def _wanted(self, process: ProcessSupervisor) -> Wanted:
        return "Running" if self._control is None else self._control.wanted(process.part.task)

    def _may_run(self, process: ProcessSupervisor) -> bool:
        wanted = self._wanted(process)
        return wanted == "Running" or (wanted == "Paused" and not process.part.pauses)

    def _heed(self, now: float) -> None:
        """Do what is wanted of the tasks, and say how their parts are."""
        if self._control is None:
            return
        self._tell_problems(self._control)
        for process in self._started:
            if self._may_run(process) and process.held is not None:
                self._say(STACK, f"starts {process.part.name}")
                process.release(now)
            elif not self._may_run(process) and process.held is None:
                self._say(STACK, f"ends {process.part.name}: {self._wanted(process).lower()}")
                process.hold(now)
        self._control.tell(
            [
                PartStatus(each.part.name, each.part.task, self._state(each), each.process)
                for stage in self._stages
                for each in stage
            ]
        )

    def _tell_problems(self, control: Control) -> None:
        """Say once what is wrong with what is wanted of a task."""
        found = {control.problem(each.part.task) for each in self._started} - {""}
        for problem in sorted(found - self._problems):
            self._say(STACK, problem)
        self._problems = found

    def _state(self, process: ProcessSupervisor) -> PartState:
        if process.done:
            return "done"
        if process.process is not None:
            return "running"
        if process.held is not None:
            return "cancelled" if self._wanted(process) == "Cancelled" else "paused"
        return "ended" if process in self._started else "waiting"

    def _end(self) -> None:
        """End the parts, the last started first; those that start together end together."""
        for stage in reversed(self._stages):
            running = [process for process in stage if not process.ended()]
            for process in running:
                self._say(STACK, f"ends {process.part.name}")
                process.send_signal(signal.SIGTERM)
            given_up = time.monotonic() + self._stop_seconds
            while not all(process.ended() for process in stage):
                if self._stops > 1 or time.monotonic() > given_up:
                    for process in stage:
                        process.kill()
                time.sleep(POLL_SECONDS / 5)  # between looks at parts that are ending

    @contextmanager
    def _listening(self) -> Iterator[None]:
        heard = {
            signal.SIGINT: self._on_stop_signal,
            signal.SIGTERM: self._on_stop_signal,
            signal.SIGHUP: self._on_reload_signal,
        }
        before = {number: signal.signal(number, handler) for number, handler in heard.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._interrupted |= number == signal.SIGINT
        self._stops += 1
        self._woken.set()
        if self._stops > 1:
            for process in self._started:
                process.kill()

    def _on_reload_signal(self, number: int, frame: FrameType | None) -> None:
        for process in self._started:
            if process.part.reloads:
                process.send_signal(signal.SIGHUP)
