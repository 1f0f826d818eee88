"""A Mosquitto of a measurement's own, on a free port of this machine."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from cloud.stack import mosquitto
from cloud.stack.settings import StackBroker
from edgeloop.errors import UnavailableError
from edgeloop.runtime import local_broker
from edgeloop.runtime.child_processes import bound
from edgeloop.runtime.local_broker import Broker
from edgeloop.runtime.ports import free_port


@contextmanager
def running(folder: Path) -> Iterator[tuple[int, int]]:
    """Run the Mosquitto that `edgeloop up` runs by `plain = true`; yield its port and process.

    Raises:
        BrokerSetupError: if there is none.
        UnavailableError: if it ends before it listens.
    """
    settings = StackBroker(port=free_port(), plain=True)
    (folder / "broker").mkdir()
    broker = mosquitto.prepare_broker(settings, folder / "broker")
    with _listening(broker, settings.port) as process:
        yield settings.port, process


@contextmanager
def plain(folder: Path, *lines: str) -> Iterator[tuple[int, int]]:
    """Run a Mosquitto that lets everybody in, and writes nothing; yield its port and process.

    Args:
        folder: for its configuration.
        *lines: of that, besides.

    Raises:
        BrokerSetupError: if there is none.
        UnavailableError: if it ends before it listens.
    """
    port = free_port()
    listener = [f"listener {port} 127.0.0.1", "allow_anonymous true"]
    broker = local_broker.mosquitto(folder, [*listener, *lines])
    with _listening(broker, port) as process:
        yield port, process


@contextmanager
def _listening(broker: Broker, port: int) -> Iterator[int]:
    command = bound(broker.command, signal.SIGTERM)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - ours
    try:
        while not _listens(process.pid, port):
            time.sleep(0.05)  # between looks
            if process.poll() is not None:
                raise UnavailableError("broker", f"ended with {process.returncode}", "try again")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _listens(process: int, port: int) -> bool:
    """Return whether it is this process that listens on a port."""
    try:
        found = psutil.Process(process).net_connections("tcp")
    except psutil.NoSuchProcess:  # it has just ended
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in found)
