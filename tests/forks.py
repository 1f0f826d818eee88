"""Commands at work in folders of their own, in groups of their own: forked, stopped, waited for."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests import forked
from tests.forked import Forked


@dataclass(frozen=True)
class Started:
    """A command at work.

    Attributes:
        process: which leads a group of its own.
        said: the file of what it says on stderr.
    """

    process: Forked
    said: Path

    @property
    def pid(self) -> int:
        """The process's, and the group's."""
        return self.process.pid

    def stop(self, how: signal.Signals) -> None:
        """Send a signal to the command and to all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, how)


class Forks:
    """Starts commands."""

    def __init__(self) -> None:
        self.alive: list[Started] = []
        self._asked = 0

    def start(self, folder: Path, *words: str) -> Started:
        """Start `edgeloop WORDS` in a folder, where its logs are written too."""
        self._asked += 1
        out, said = (folder / f".{name}-{self._asked}" for name in ("out", "said"))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with out.open("w") as stdout, said.open("w") as stderr:
            process = forked.start(
                ["edgeloop", *words],
                stdout=stdout,
                stderr=stderr,
                env=environment,
                cwd=folder,
                group=True,
            )
        self.alive.append(Started(process, said))
        return self.alive[-1]

    def ended(self, started: Started) -> int:
        """Wait for a command's end, and return its exit status, negative for a signal's."""
        status = started.process.wait()
        self.alive.remove(started)
        return status

    def all_end_well(self, folder: Path, commands: Sequence[Sequence[str]]) -> list[str]:
        """Start commands, wait for their ends, and return what each has said on stderr."""
        started = [self.start(folder, *words) for words in commands]
        statuses = [self.ended(each) for each in started]
        told = [each.said.read_text() for each in started]
        assert not any(statuses), told
        return told

    def kill_all(self) -> None:
        """Kill what has not ended, with all that it has started."""
        for each in self.alive:
            each.stop(signal.SIGKILL)
        for each in [*self.alive]:
            self.ended(each)
