"""The demo's MQTT broker: it runs as long as the demo does."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeloop.errors import BrokerAwayError
from edgeloop.runtime import local_broker
from edgeloop.runtime.child_processes import bound
from edgeloop.runtime.local_broker import Broker
from edgeloop.runtime.ports import free_port, listens

LONGEST_SECONDS = 60.0
"""That a broker may take to start, on a machine that is busy."""


@contextmanager
def running_broker(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a broker on a free loopback port; yield its name and port.

    Raises:
        BrokerError: if there is none to run, or it does not start.
    """
    port = free_port()
    chosen = local_broker.anonymous_broker(folder, port)
    with run_broker(chosen, folder / "broker.log", port):
        yield chosen.name, port


@contextmanager
def run_broker(chosen: Broker, log: Path, port: int) -> Iterator[None]:
    """Run a broker until the block ends.

    Raises:
        BrokerError: if nobody listens on its port in time.
    """
    command = bound(chosen.command, signal.SIGTERM)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output, stdout=output)  # noqa: S603 - found on the path
    try:
        _wait(process, port, f"see {log}")
        yield
    finally:
        process.terminate()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, remedy: str) -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if listens(port):
            return
        time.sleep(0.05)  # between looks at a broker that is starting
    raise BrokerAwayError(f"broker on port {port}", "does not start", remedy)
