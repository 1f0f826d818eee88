"""The demo's MQTT broker: a Mosquitto if there is one, else the one in the `iotcore` wheel.

The embedded one is for trials only: it holds sessions in memory, and knows no client certificates
and no access lists.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeloop.errors import BrokerError

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


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return so many different ports of the loopback interface that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a broker on a free loopback port; yield its name and port.

    Raises:
        BrokerError: if there is none to run, or it does not start.
    """
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    port = free_port()
    if mosquitto is not None:
        with _mosquitto(mosquitto, folder, port):
            yield f"Mosquitto ({mosquitto})", port
    else:
        with _embedded(folder, port):
            yield "the broker embedded in the iotcore wheel (no mosquitto on the path)", port


@contextmanager
def _mosquitto(program: str, folder: Path, port: int) -> Iterator[None]:
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
    log = folder / "broker.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-c", str(config)], stderr=output, stdout=output)  # noqa: S603 - found on the path
    try:
        _wait(port, f"see {log}")
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _embedded(folder: Path, port: int) -> Iterator[None]:
    try:
        from iotcore import Broker
    except ModuleNotFoundError as error:
        raise BrokerError(
            "broker",
            "no mosquitto is on the path, and no embedded broker is installed",
            "apt-get install mosquitto, or pip install 'edgeloop[broker]'",
        ) from error
    config = folder / "broker.toml"
    config.write_text(EMBEDDED.format(port=port), encoding="utf-8")
    with Broker(config_path=str(config)):
        _wait(port, "install mosquitto instead")
        yield


def _wait(port: int, remedy: str) -> None:
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)  # between looks at a broker that is starting
    raise BrokerError(f"broker on port {port}", "does not start", remedy)
