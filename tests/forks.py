"""The command in processes that need not load torch again: each is forked from one that has."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.processes import running

PROGRAM = """
import json, os, signal, sys
import edge.agent.service, cloud.aggregator.command, simulations.commands.simulate
from edgeloop.cli.main import main

for line in sys.stdin:
    number, what = json.loads(line)
    if "wait" in what:
        print(number, os.waitstatus_to_exitcode(os.waitpid(what["wait"], 0)[1]), flush=True)
        continue
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(what["folder"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(what["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open(what["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's is ignored
        os._exit(main(what["words"]))
    print(number, child, flush=True)
"""


@dataclass(frozen=True)
class Started:
    """A command at work.

    Attributes:
        pid: of its process, which leads a group of its own.
        said: the file of what it says on stderr.
    """

    pid: int
    said: Path

    def stop(self, how: signal.Signals) -> None:
        """Send a signal to the command and to all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, how)


class Forks:
    """Starts commands.

    Args:
        process: that has loaded what they need.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._asked = 0
        self.alive: list[Started] = []

    def start(self, folder: Path, *words: str) -> Started:
        """Start `edgeloop WORDS` in a folder, where its logs are written too."""
        out, said = (folder / f".{name}-{self._asked}" for name in ("out", "said"))
        what = {"words": words, "folder": str(folder), "out": str(out), "said": str(said)}
        self.alive.append(Started(self._ask(what), said))
        return self.alive[-1]

    def ended(self, started: Started) -> int:
        """Wait for a command's end, and return its exit status, negative for a signal's."""
        status = self._ask({"wait": started.pid})
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

    def _ask(self, what: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked += 1
        self._process.stdin.write(json.dumps([self._asked, what]) + "\n")
        self._process.stdin.flush()
        while True:  # a test that was ended has left the answer to its last question
            number, answer = self._process.stdout.readline().split()
            if int(number) == self._asked:
                return int(answer)


@contextmanager
def forking() -> Iterator[Forks]:
    """Have a process that starts commands."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with running([sys.executable, "-c", PROGRAM], env=environment, **pipes) as process:
        yield Forks(process)
