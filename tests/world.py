"""What several tests need of the world outside: ports, brokers, the devices' architectures."""

import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgeloop.settings import BrokerSettings

MODELS = ("cnn", "resnet4", "resnet6", "resnet8", "harcnn-s1", "harcnn1-s2")
"""The architectures of the small world's six devices."""


@dataclass(frozen=True)
class Mosquitto:
    """A Mosquitto of this test session's own."""

    process: subprocess.Popen[bytes]
    settings: BrokerSettings


StartBroker = Callable[..., Mosquitto]


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    """Return as soon as somebody listens on a port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens on port {port}")
