"""A process that is started again when it dies, by what its exit code says."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeloop.errors import EXIT_TAKEN, EXIT_UNAVAILABLE
from edgeloop.runtime.child_processes import bound, environment

AGAIN = (0.5, 4.0)
"""Seconds before a part that has ended by itself is started again, at first and at most."""

TRIED_AGAIN = (EXIT_TAKEN, EXIT_UNAVAILABLE)


class EndedError(AssertionError):
    """A part has ended as none may."""


@dataclass
class Supervised:
    """A part of the deployment.

    Attributes:
        name: of the part.
        command: its command line.
        log: the file that it writes to.
        variables: of its environment.
        forgiven: start it again whatever it ends with.
        process: as long as it runs.
        done: whether its work is done.
        starts: how often it was started.
        endings: how often it has ended, by exit code.
    """

    name: str
    command: Sequence[str]
    log: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    forgiven: bool = False
    process: subprocess.Popen[bytes] | None = None
    done: bool = False
    starts: int = 0
    endings: dict[int, int] = field(default_factory=dict)
    _due: float | None = None
    _wait: float = AGAIN[0]

    def start(self) -> None:
        """Start it; what it says is added to its log."""
        self.starts += 1
        self._due = None
        with self.log.open("ab") as log:
            log.write(f"---- start {self.starts}, at {time.time():.1f}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                bound(self.command, signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment(), **self.variables},
            )

    def poll(self) -> None:
        """Start it again if it is due; see how it has ended.

        Raises:
            EndedError: if it has ended with a bug, or says that its input is wrong.
        """
        if self._due is not None and time.monotonic() >= self._due:
            self.start()
        code = None if self.process is None else self.process.poll()
        if code is None:
            return
        self.process = None
        self.endings[code] = self.endings.get(code, 0) + 1
        if code == 0 and not self.forgiven:
            self.done = True
            return
        if not (self.forgiven or code in TRIED_AGAIN):
            raise EndedError(f"{self.name} has ended with {code}: {self.tail()}")
        self._due = time.monotonic() + self._wait
        self._wait = min(AGAIN[1], 2 * self._wait)

    def kill(self, seconds: float) -> bool:
        """End it as a power cut would, and start it again after so long; tell whether it ran."""
        if self.process is None:
            return False
        if self.process.poll() is not None:  # by itself, just now
            self.poll()
            return False
        self.process.kill()
        self.process.wait()
        self.process = None
        self._wait = AGAIN[0]
        self._due = time.monotonic() + seconds
        return True

    def signal(self, number: int) -> bool:
        """Send it a signal; tell whether it runs."""
        if self.process is None or self.process.poll() is not None:
            return False
        os.kill(self.process.pid, number)
        return True

    def stop(self) -> None:
        """End it for good."""
        self._due = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def tail(self, lines: int = 12) -> str:
        """Return what it has said at last."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
