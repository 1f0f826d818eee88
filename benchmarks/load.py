"""How many devices one aggregator and one Mosquitto take here (`python -m benchmarks.load`).

The uploads are FedProto's (10 classes, 512 features: 20 KB), sent as fast as one client can, so
that the aggregator is what takes time: its checks, ledger, acknowledgements.
"""

import json
import resource
import secrets
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tomli_w
import typer

from benchmarks import environment as host_facts
from benchmarks.brokers import running
from benchmarks.processes import processor_seconds, resident
from edgeloop.cli import console
from edgeloop.client import Report
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract, Opening, contract_topic, round_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.child_processes import bound, edgeloop, environment
from edgeloop.runtime.config import BrokerSettings

CLASSES, WIDTH, ROUNDS = 10, 512, 4


@dataclass(frozen=True)
class Measured:
    """What a number of devices took.

    Attributes:
        devices: that uploaded in each round.
        seconds: a round, the median of all but the first.
        processor_seconds: of the aggregator, a round, from its start on.
        mebibytes: the aggregator's memory after the last round.
        ledger_kibibytes: a device, of the ledger's files after the last round; None if not a file.
    """

    devices: int
    seconds: float
    processor_seconds: float
    mebibytes: float
    ledger_kibibytes: float | None


def main(
    devices: Annotated[str, typer.Option(help="How many, one after another.")] = "10,100,1000",
    connections: Annotated[str, typer.Option(help="Of idle clients.")] = "0,1000,10000",
    store: Annotated[
        str | None, typer.Option(help="Of an empty PostgreSQL, beside SQLite.")
    ] = None,
) -> None:
    """Measure rounds by number of devices, and Mosquitto's memory by number of connections."""
    found: dict[str, list[Measured]] = {}
    for name, url in (("SQLite", None), *([("PostgreSQL", store)] if store else [])):
        found[name] = [measure(int(count), url) for count in devices.split(",")]
    memory = {int(count): idle(int(count)) for count in connections.split(",")}
    report(found, memory)


def measure(devices: int, store: str | None) -> Measured:
    """Run a task whose devices' uploads are there at once."""
    console.note(f"{devices} devices, {store or 'SQLite'}")
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        port, _ = stack.enter_context(running(folder))
        names = [f"device-{number:05}" for number in range(devices)]
        task = f"load-{secrets.token_hex(4)}"  # a name of its own in a shared database
        config = _task(folder, port, task, names, store)
        with (folder / "log").open("wb") as log:
            command = bound(edgeloop("aggregator", "--config", str(config)), signal.SIGTERM)
            process = subprocess.Popen(command, stderr=log, env=environment())  # noqa: S603 - ours
        stack.callback(process.wait)
        stack.callback(process.terminate)
        upload_all(BrokerSettings(port=port), task, names)
        wait_for(folder / "task" / "summary.json", process)
        processor, memory = processor_seconds(process.pid), resident(process.pid)
        summary = json.loads((folder / "task" / "summary.json").read_text())
        kept = sum(path.stat().st_size for path in (folder / "task").glob("ledger.sqlite*"))
    seconds = statistics.median(summary["seconds_by_round"][1:])
    each = kept / 1024 / devices if store is None else None
    return Measured(devices, seconds, processor / ROUNDS, memory, each)


def upload_all(broker: BrokerSettings, task: str, names: list[str]) -> None:
    """Answer every round of the task for all devices, and its last evaluation."""
    contract: Contract | None = None
    ready: dict[int, dict[str, bytes]] = {}
    subscriptions = [contract_topic(task), round_topic(task)]
    with MqttConnection(broker, "load", subscriptions) as connection:
        while True:
            event = connection.receive(None)
            if not isinstance(event, Arrival) or not event.payload:
                continue
            event.acknowledge()
            if event.topic == contract_topic(task):
                contract = Contract.model_validate_json(event.payload)
                ready = {number: frames(contract, number, names) for number in range(ROUNDS + 1)}
            elif contract is not None:
                number = Opening.model_validate_json(event.payload).round
                for name, frame in ready.pop(number, {}).items():
                    connection.send(upload_topic(task, name), frame)
                if number == ROUNDS:
                    connection.flush(600)
                    return


def frames(contract: Contract, number: int, names: list[str]) -> dict[str, bytes]:
    """Return every device's answer to a round."""
    generator = np.random.default_rng(number)
    labels_N = np.arange(CLASSES, dtype=np.int64)
    answers: dict[str, bytes] = {}
    for name in names:
        prototypes_ND = generator.standard_normal((CLASSES, WIDTH), dtype=np.float32)
        upload = PrototypeUpload(labels_N, np.ones(CLASSES, np.int64), prototypes_ND)
        report = Report(5, 10, 10, 0.0, 0.0)
        messages: tuple[Any, ...] = (report,) if number == ROUNDS else (upload, report)
        answers[name] = wire.encode(Envelope(contract.task, contract.run, number, name), *messages)
    return answers


def idle(connections: int) -> float:
    """Return the memory (MiB) of a Mosquitto with so many idle connections, each subscribed."""
    console.note(f"{connections} connections")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        port, process = stack.enter_context(running(Path(place)))
        for number in range(connections):
            stack.enter_context(connected(port, f"device-{number}"))
        return resident(process)


def connected(port: int, name: str) -> socket.socket:
    """Connect as an MQTT 5 client that subscribes to a task's round; return its connection."""
    wire_name, topic = name.encode(), round_topic("load").encode()
    body = b"\x00\x04MQTT\x05\x02\x00\x00\x00" + len(wire_name).to_bytes(2) + wire_name
    asked = b"\x00\x01\x00" + len(topic).to_bytes(2) + topic + b"\x01"
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(bytes([0x10, len(body)]) + body)
    client.recv(64)  # its acknowledgement
    client.sendall(bytes([0x82, len(asked)]) + asked)
    client.recv(64)
    return client


def wait_for(summary: Path, process: subprocess.Popen[bytes]) -> None:
    """Return when the aggregator, which lingers, has written its summary."""
    while not summary.exists():
        if process.poll() is not None:
            raise RuntimeError(f"the aggregator has ended with {process.returncode}")
        time.sleep(0.1)  # between looks


def _task(folder: Path, port: int, task: str, names: list[str], store: str | None) -> Path:
    table: dict[str, Any] = {
        "name": task,
        "algorithm": "fedproto",
        "class_names": [str(number) for number in range(CLASSES)],
        "shape": [1, 28, 28],
        "width": WIDTH,
        "rounds": ROUNDS,
        "folder": str(folder / "task"),
        "broker": {"port": port},
        "http": {"port": 0, "linger": True},
        "cohort": {"devices": names},
        **({"store": store} if store else {}),
    }
    path = folder / "task.toml"
    path.write_text(tomli_w.dumps(table))
    return path


def report(found: dict[str, list[Measured]], memory: dict[int, float]) -> None:
    """Print and write what was measured."""
    of_aggregator = ("aggregator: CPU s a round", "MiB", "ledger: KiB a device")
    columns = ("ledger", "devices", "s a round", "uploads/s", *of_aggregator)
    rows = [[name, *_cells(each)] for name, several in found.items() for each in several]
    console.table("rounds", columns, rows)
    counts = ("connections", "Mosquitto: MiB")
    clients = [[count, f"{each:.0f}"] for count, each in memory.items()]
    console.table("idle clients", counts, clients)
    machine = host_facts.machine()
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    tables = f"{host_facts.markdown(columns, rows)}\n{host_facts.markdown(counts, clients)}"
    content = {
        "machine": machine,
        "rounds": {name: [vars(each) for each in several] for name, several in found.items()},
        "mebibytes_by_connections": memory,
    }
    text = f"{tables}\n{about}\n"
    host_facts.write("load", content, text)
    host_facts.embed(host_facts.ROOT / "docs" / "operate.md", "load", text)


def _cells(each: Measured) -> list[str]:
    kept = "" if each.ledger_kibibytes is None else f"{each.ledger_kibibytes:.0f}"
    rate = each.devices / each.seconds
    numbers = [f"{each.seconds:.2f}", f"{rate:.0f}", f"{each.processor_seconds:.2f}"]
    return [str(each.devices), *numbers, f"{each.mebibytes:.0f}", kept]


if __name__ == "__main__":
    raise SystemExit(host_facts.run(main, "load"))
