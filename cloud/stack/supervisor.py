"""Starts the parts in order, keeps them running, ends them in order."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from cloud.stack.part import Part
from cloud.stack.process_supervisor import Keeper
from edgeloop.errors import RunError

LOOK_SECONDS = 0.1
ME = "up"
"""What the lines of the stack itself begin with."""


class StoppedError(Exception):
    """Somebody wants the stack to end."""


class Supervisor:
    """Keeps a stack running.

    Args:
        stages: parts that start together; a stage begins when the one before is ready.
        say: told the name of a part, and a line.
        restart_seconds: before a part is started again; each time twice as long.
        start_seconds: how long a stage may take until it is ready.
        stop_seconds: how long a part may take to end before it is killed.
        held: file descriptors that each part holds as long as it lives.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Part]],
        say: Callable[[str, str], None],
        *,
        restart_seconds: float = 1.0,
        start_seconds: float = 300.0,
        stop_seconds: float = 30.0,
        held: tuple[int, ...] = (),
    ) -> None:
        self._say = say
        self._stages = [
            [Keeper(part, say, restart_seconds, held) for part in stage] for stage in stages
        ]
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._started: list[Keeper] = []
        self._stops = 0
        self._woken = threading.Event()

    def run(self) -> None:
        """Run the stack until its work is done, or until SIGINT or SIGTERM.

        SIGHUP has the parts that can read their files again. All have ended when this returns.

        Raises:
            RunError: if a part cannot start.
            KeyboardInterrupt: if the end was asked for twice, and all were killed.
        """
        with self._listening():
            try:
                for stage in self._stages:
                    self._start(stage)
                self._say(ME, "everything runs")
                self._wait_for(self._is_done, None)
                self._say(ME, "all work is done")
            except StoppedError:
                self._say(ME, "stops; a second Ctrl-C kills")
            finally:
                self._end()
        if self._stops > 1:
            raise KeyboardInterrupt

    def _start(self, stage: Sequence[Keeper]) -> None:
        for keeper in stage:
            self._say(ME, f"starts {keeper.part.name}")
            keeper.start(time.monotonic())
            self._started.append(keeper)
        if not self._wait_for(lambda: all(keeper.ready() for keeper in stage), self._start_seconds):
            late = next(keeper.part.name for keeper in stage if not keeper.ready())
            problem = f"is not ready after {self._start_seconds:g} s"
            raise RunError(late, problem, "see its lines above, or give start_seconds more")

    def _is_done(self) -> bool:
        """Tell whether all aggregators and agents are done; never, if one stays or lingers."""
        working = [keeper for keeper in self._started if not keeper.part.is_service]
        return bool(working) and all(keeper.done for keeper in working)

    def _wait_for(self, met: Callable[[], bool], seconds: float | None) -> bool:
        """Look after all parts until something is so; tell whether it was in time."""
        given_up = None if seconds is None else time.monotonic() + seconds
        while not met():
            if self._stops:
                raise StoppedError
            now = time.monotonic()
            if given_up is not None and now > given_up:
                return False
            for keeper in self._started:
                keeper.look(now)
            self._woken.wait(LOOK_SECONDS)
        return True

    def _end(self) -> None:
        """End the parts, the last started first; those that start together end together."""
        for stage in reversed(self._stages):
            running = [keeper for keeper in stage if not keeper.ended()]
            for keeper in running:
                self._say(ME, f"ends {keeper.part.name}")
                keeper.tell(signal.SIGTERM)
            given_up = time.monotonic() + self._stop_seconds
            while not all(keeper.ended() for keeper in stage):
                if self._stops > 1 or time.monotonic() > given_up:
                    for keeper in stage:
                        keeper.kill()
                time.sleep(LOOK_SECONDS / 5)  # between looks at parts that are ending

    @contextmanager
    def _listening(self) -> Iterator[None]:
        heard = {
            signal.SIGINT: self._told_to_stop,
            signal.SIGTERM: self._told_to_stop,
            signal.SIGHUP: self._told_to_reload,
        }
        before = {number: signal.signal(number, handler) for number, handler in heard.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _told_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stops += 1
        self._woken.set()
        if self._stops > 1:
            for keeper in self._started:
                keeper.kill()

    def _told_to_reload(self, number: int, frame: FrameType | None) -> None:
        for keeper in self._started:
            if keeper.part.reloads:
                keeper.tell(signal.SIGHUP)
