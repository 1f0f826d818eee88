"""Stacks as a user runs them: a file, the command, what it says, and the processes behind it."""

import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from edgeloop.data.sample import fashion_sample
from edgeloop.runtime.ports import free_port
from tests.devices import wait_until

EDGELOOP = str(Path(sys.executable).with_name("edgeloop"))
TASK = "shop-floor"
DEVICES = ("one", "two")
ROUNDS = 4


def table(folder: Path, **changes: object) -> dict[str, object]:
    """Return a stack's file: a broker, an aggregator, two agents; with some keys as wanted."""
    return {
        "folder": str(folder / "stack"),
        "restart_seconds": 0.2,
        "broker": {"port": free_port()},
        "aggregators": [task()],
        "agents": [device(number) for number in range(len(DEVICES))],
        **changes,
    }


def task(**changes: object) -> dict[str, object]:
    """Return the table of an aggregator."""
    return {
        "name": TASK,
        "algorithm": "fedproto",
        "class_names": list(fashion_sample().class_names),
        "shape": [1, 28, 28],
        "width": 32,
        "rounds": ROUNDS,
        "http": {"port": free_port()},
        "cohort": {"devices": list(DEVICES)},
        **changes,
    }


def device(number: int, **changes: object) -> dict[str, object]:
    """Return the table of an agent."""
    shares = {"partition": "dirichlet", "alpha": 1.0, "clients": 20, "client": number}
    return {
        "name": DEVICES[number],
        "task": TASK,
        "data": {"source": "fashion-sample", **shares},
        "training": {"architecture": "cnn", "threads": 1, "mix": "never"},
        "model": {"every_rounds": 0},
        **changes,
    }


def of_one_device(rounds: int = 1) -> dict[str, object]:
    """Return the tables of a task of one device."""
    cohort = {"devices": [DEVICES[0]]}
    return {"aggregators": [task(rounds=rounds, cohort=cohort)], "agents": [device(0)]}


def write(folder: Path, stack: dict[str, object]) -> Path:
    """Write a stack's file; return its path."""
    path = folder / "stack.toml"
    path.write_text(tomli_w.dumps(stack))
    return path


class Up:
    """A running `edgeloop up`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def said(self) -> str:
        """Return all lines so far."""
        return self._log.read_text()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Return as soon as it has said something so often."""
        wait_until(lambda: self.said().count(text) >= times or self._has_ended(), 200)
        assert self.said().count(text) >= times, self.said()

    def end(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(200)

    def part(self, words: str) -> int:
        """Return the process of the part whose command line has these words."""
        (found,) = [pid for pid in children(self.process.pid) if words in command_of(pid)]
        return found

    def _has_ended(self) -> bool:
        return self.process.poll() is not None


@contextmanager
def running(config: Path) -> Iterator[Up]:
    """Run a stack until the block ends."""
    log = config.with_name(f"{len(list(config.parent.glob('*.log')))}.log")
    command = [EDGELOOP, "up", "--config", str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield Up(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()


def children(parent: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def command_of(process: int) -> str:
    """Return a process's command line; empty once it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def lives(process: int) -> bool:
    """Return whether a process is there and no zombie."""
    return command_of(process) != ""


def kill(process: int) -> None:
    """End a process as a power cut would."""
    os.kill(process, signal.SIGKILL)


def port_of(config: Path) -> int:
    """Return the port of a stack's broker."""
    return int(tomllib.loads(config.read_text())["broker"]["port"])


def socket_on(port: int) -> socket.socket:
    """Listen on a loopback port; 0 for any free one."""
    return socket.create_server(("127.0.0.1", port))
