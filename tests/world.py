"""What several tests need of the world outside: ports, brokers, the devices' architectures."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgeloop.protocol.task import Contract
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests.ports import lasting_ports, wait_for_listener

MODELS = ("cnn", "resnet4", "resnet6", "resnet8", "harcnn-s1", "harcnn1-s2")
"""The architectures of the small world's six devices."""


@dataclass(frozen=True)
class Mosquitto:
    """A Mosquitto of this test session's own."""

    process: subprocess.Popen[bytes]
    settings: BrokerSettings


StartBroker = Callable[..., Mosquitto]


def contract(**changes: Any) -> Contract:
    """Return a small task's contract, with some fields as a test wants them."""
    fields: dict[str, Any] = {
        "task": "t",
        "run": "r",
        "algorithm": "fedproto",
        "class_names": ("a", "b"),
        "shape": (1, 28, 28),
        "width": 4,
        "rounds": 2,
        "devices": ("one", "two"),
    }
    return Contract(**{**fields, **changes})


def wait_for_port(port: int, seconds: float = 60.0) -> None:
    """Return as soon as somebody listens on a port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens on port {port}")


def lasting_port() -> int:
    """Return a free port that no outgoing connection takes while what listens there is away."""
    return lasting_ports(1)[0]


@contextmanager
def brokers_in(folder: Path) -> Iterator[StartBroker]:
    """Start Mosquittos on free loopback ports, with further lines of configuration if wanted."""
    program = _mosquitto()
    with ExitStack() as stack:

        def start(*lines: str, port: int | None = None) -> Mosquitto:
            port = port or free_port()
            config = folder / f"mosquitto-{port}.conf"
            anonymous = (
                [] if any("allow_anonymous" in line for line in lines) else ["allow_anonymous true"]
            )
            config.write_text(
                "\n".join([f"listener {port} 127.0.0.1", "user root", *anonymous, *lines]) + "\n"
            )
            process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            wait_for_listener(process, port)
            return Mosquitto(process, BrokerSettings(port=port))

        yield start


@contextmanager
def mosquitto_with(config: Path, port: int) -> Iterator[Mosquitto]:
    """Run a Mosquitto with a configuration file that listens on a port."""
    process = subprocess.Popen([_mosquitto(), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for_listener(process, port)
        yield Mosquitto(process, BrokerSettings(port=port))
    finally:
        process.kill()
        process.wait()


def _mosquitto() -> str:
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("mosquitto is not installed")
        pytest.skip("mosquitto is not installed")
    return program
