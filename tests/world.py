"""What several tests need of the world outside: ports, brokers, the devices' architectures."""

import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeloop.settings import BrokerSettings
from edgeloop.task import Contract

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
