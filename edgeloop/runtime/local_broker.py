"""An MQTT broker on this machine: a Mosquitto if there is one, else the one in the `iotcore` wheel.

The embedded one is for trials only: it holds sessions in memory, and knows no client certificates
and no access lists.
"""

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop.errors import BrokerSetupError

EMBEDDED = """
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 10485760
max_inflight_count = 100
dynamic_filters = true
"""


@dataclass(frozen=True)
class Broker:
    """A broker that can be started.

    Attributes:
        name: for a person.
        command: its command line.
    """

    name: str
    command: tuple[str, ...]


def program() -> str | None:
    """Return where Mosquitto is; None if it is not installed."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")


def anonymous_broker(folder: Path, port: int) -> Broker:
    """Return a broker on a loopback port that lets everybody in; its files are in the folder.

    Raises:
        BrokerSetupError: if there is none to run.
    """
    if program() is None:
        return embedded_broker(folder, port)
    return mosquitto(folder, [f"listener {port} 127.0.0.1", "allow_anonymous true"])


def mosquitto(folder: Path, lines: Sequence[str]) -> Broker:
    """Return a Mosquitto with these lines of configuration, which are written into the folder.

    Raises:
        BrokerSetupError: if it is not installed.
    """
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return mosquitto_from_file(config)


def mosquitto_from_file(config: Path) -> Broker:
    """Return a Mosquitto with a configuration file.

    Raises:
        BrokerSetupError: if it is not installed.
    """
    found = program()
    if found is None:
        remedy = 'apt-get install mosquitto, or take the embedded one: run = "wheel"'
        raise BrokerSetupError("broker", "no mosquitto is on the path", remedy)
    return Broker(f"Mosquitto ({found})", (found, "-c", str(config)))


def embedded_broker(folder: Path, port: int) -> Broker:
    """Return the broker of the `iotcore` wheel, on a loopback port.

    Raises:
        BrokerSetupError: if it is not installed.
    """
    if importlib.util.find_spec("iotcore") is None:
        raise BrokerSetupError(
            "broker",
            "no mosquitto is on the path, and no embedded broker is installed",
            "apt-get install mosquitto, or pip install 'edgeloop[broker]'",
        )
    config = folder / "broker.toml"
    config.write_text(EMBEDDED.format(port=port), encoding="utf-8")
    command = (sys.executable, "-m", "edgeloop.runtime.embedded_broker", str(config))
    return Broker("the broker embedded in the iotcore wheel", command)
