"""Keeps one part running: starts it, passes on what it says, starts it again when it dies."""

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from cloud.stack.part import Part
from edgeloop.cli.stopping import STOPPED
from edgeloop.errors import (
    EXIT_INPUT,
    EXIT_TAKEN,
    EXIT_UNAVAILABLE,
    EdgeloopError,
    RunError,
    TakenError,
)
from edgeloop.runtime.child_processes import bound, environment

LONGEST_SECONDS = 60.0
"""Between two starts; a part that has run so long is taken for well again."""

_FINAL: Mapping[int, type[EdgeloopError]] = {EXIT_INPUT: RunError, EXIT_TAKEN: TakenError}
"""Exit codes that another start does not mend, where a part ends so soon after its first one."""

_MEANINGS = {
    EXIT_INPUT: "wrong input",
    EXIT_TAKEN: "taken by another process",
    EXIT_UNAVAILABLE: "unavailable now",
}


class ProcessSupervisor:
    """Keeps a part running; call `poll` often, from the thread that called `start`.

    Args:
        part: what to keep.
        say: called with the part's name, and each line of its or what becomes of it.
        restart_seconds: before the first start again; each time twice as long.
        files: file descriptors that the process holds as long as it lives.

    Attributes:
        done: whether its work has come to its end.
        was_ready: whether it has been seen to be ready.
        held: since when it is to run no more until `release`, on `time.monotonic`; None if it may.
    """

    def __init__(
        self,
        part: Part,
        say: Callable[[str, str], None],
        restart_seconds: float,
        files: tuple[int, ...] = (),
    ) -> None:
        self.part = part
        self.done = False
        self.was_ready = False
        self._say = say
        self._first_wait = self._wait = restart_seconds
        self._files = files
        self.held: float | None = None
        self._process: subprocess.Popen[str] | None = None
        self._mouth: threading.Thread | None = None
        self._last: deque[str] = deque(maxlen=3)
        self._starts = 0
        self._begun = 0.0
        self._due: float | None = None

    @property
    def process(self) -> int | None:
        """The process; None while there is none."""
        return None if self._process is None else self._process.pid

    def start(self, now: float) -> None:
        """Start the part, in a session of its own: a terminal's Ctrl-C is for the stack."""
        self._starts += 1
        self._begun, self._due = now, None
        self._last.clear()
        self._process = subprocess.Popen(  # noqa: S603 - the parts' own commands
            bound(self.part.command, signal.SIGTERM),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(),
            start_new_session=True,
            pass_fds=self._files,
        )
        self._mouth = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        self._mouth.start()

    def poll(self, now: float) -> None:
        """See to a part that has ended, or is due to be started again.

        Raises:
            RunError: if its input is wrong, as it says soon after its first start.
            TakenError: if it says then that another process has what it needs.
        """
        if self._due is not None and now >= self._due:
            self.start(now)
        code = None if self._process is None else self._process.poll()
        if code is None:
            if self.held is not None and now - self.held > LONGEST_SECONDS:
                self.kill()
            return
        self._reap()
        if code == 0 and self.part.ends and not self._was_stopped():
            self.done = self.was_ready = True
            self._say(self.part.name, "has done its work")
        elif self.held is not None:
            self._say(self.part.name, "has ended, and is not started again for now")
        elif code in _FINAL and self.part.vital and self._is_new(now):
            words = " | ".join(self._last).removeprefix("error: ")
            remedy = "fix it and start again"
            raise _FINAL[code](self.part.name, words or f"ended with {code}", remedy)
        else:
            self._schedule_restart(code, now)

    def ready(self) -> bool:
        """Return whether the part has been ready once, or says nothing about that."""
        if self.part.is_ready is None or self.held is not None:
            return True
        if not self.was_ready and self._process is not None:
            self.was_ready = self.part.is_ready()
        return self.was_ready

    def hold(self, now: float) -> None:
        """End the part, and do not start it again until `release`."""
        if self.held is None:
            self.held, self._due = now, None
            self.send_signal(signal.SIGTERM)

    def release(self, now: float) -> None:
        """Let the part run again; one that is still ending is started when it has ended."""
        if self.held is None:
            return
        self.held = None
        if self._process is None and not self.done:
            self.start(now)

    def send_signal(self, number: int) -> None:
        """Send the part a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def ended(self) -> bool:
        """Return whether nothing of it runs any more."""
        if self._process is not None and self._process.poll() is not None:
            self._reap()
        return self._process is None

    def kill(self) -> None:
        """End it and what it has started at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _was_stopped(self) -> bool:
        """Return whether somebody ended it by a signal before its work was done."""
        return bool(self._last) and self._last[-1] == STOPPED

    def _is_new(self, now: float) -> bool:
        young = self._starts == 1 and now - self._begun < LONGEST_SECONDS
        return young and not self.was_ready

    def _schedule_restart(self, code: int, now: float) -> None:
        if now - self._begun >= LONGEST_SECONDS:
            self._wait = self._first_wait
        self._say(
            self.part.name, f"has ended with {_described(code)}; started again in {self._wait:g} s"
        )
        self._due = now + self._wait
        self._wait = min(2 * self._wait, LONGEST_SECONDS)

    def _reap(self) -> None:
        """Hear the last words, and end what the process has left in its session."""
        self.kill()
        if self._mouth is not None:
            self._mouth.join(5.0)
        self._process = None

    def _listen(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._last.append(line.rstrip())
                self._say(self.part.name, line.rstrip())


def _described(code: int) -> str:
    """Return how a process has ended, in words."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    meaning = _MEANINGS.get(code)
    return f"exit code {code}" + (f" ({meaning})" if meaning else "")
