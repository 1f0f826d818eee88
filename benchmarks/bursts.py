"""Bursts of messages: how long one takes, and the bare subscriber that others are measured by."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import publisher
from benchmarks.processes import processor_seconds
from edge.fleet.measured import quantile
from edgeloop.runtime.child_processes import bound, environment


@dataclass(frozen=True)
class Burst:
    """What became of one message a device, sent as fast as the broker takes them.

    Attributes:
        seconds: from the first one's leaving to the last one's arrival: in the callback, or in the
            transaction that stores it.
        p50, p99: seconds from a message's leaving to its arrival.
        processor_seconds: of the receiving process, a message.
    """

    seconds: float
    p50: float
    p99: float
    processor_seconds: float


def burst(left: list[float], came: list[float], processor: float) -> Burst:
    """Return what two lists of times, in the messages' order, make."""
    delays = [then - now for now, then in zip(left, came, strict=True)]
    seconds = max(came) - min(left)
    return Burst(seconds, quantile(delays, 0.5), quantile(delays, 0.99), processor / len(left))


class Bare:
    """The bare subscriber, in a process of its own."""

    def __init__(self, port: int, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.bare", str(port), "bare/+"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603
            bound(command, signal.SIGTERM), stdin=pipe, stdout=pipe, text=True, env=environment()
        )
        self._port, self._file = port, folder / "bare"

    def take(self, payloads: list[bytes]) -> Burst:
        """Send it a burst."""
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("it has no pipes")
        publisher.write(self._file, [(f"bare/{at}", each) for at, each in enumerate(payloads)])
        process.stdin.write(f"{len(payloads)}\n")
        process.stdin.flush()
        process.stdout.readline()
        before = processor_seconds(process.pid)
        left = publish(self._port, self._file)
        came = json.loads(process.stdout.readline())
        return burst(left, came, processor_seconds(process.pid) - before)

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()


def publish(port: int, file: Path) -> list[float]:
    """Send what a file holds, from a process of its own; return when each message left."""
    command = [sys.executable, "-m", "benchmarks.publisher", str(port), str(file)]
    done = subprocess.run(  # noqa: S603
        command, check=True, capture_output=True, text=True, env=environment()
    )
    times: list[float] = json.loads(done.stdout)
    return times
