"""How much of a bare subscriber's rate the aggregator reaches (`python -m benchmarks.ingest`).

The same payloads go through the same Mosquitto, in bursts by turns: to a paho subscriber that does
nothing with them, and to a real aggregator on SQLite, in one process. On a busy machine only the
shares mean something, and the processor time of each message.
"""

import json
import os
import secrets
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import tomllib
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer

from benchmarks import environment as host_facts
from benchmarks import publisher
from benchmarks.load import _processor_seconds, running, wait_for
from edge.fleet.answers import Answers, parse_size, task_file
from edge.fleet.measured import quantile
from edgeloop.cli import console
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks
from edgeloop.protocol.task import Contract, Opening, contract_topic, round_topic, upload_topic
from edgeloop.runtime.child_processes import bound, edgeloop, environment
from edgeloop.runtime.config import BrokerSettings

CHUNK = 262_144


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
        before = _processor_seconds(process.pid)
        left = _publish(self._port, self._file)
        came = json.loads(process.stdout.readline())
        return burst(left, came, _processor_seconds(process.pid) - before)

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()


def _publish(port: int, file: Path) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.publisher", str(port), str(file)]
    done = subprocess.run(  # noqa: S603
        command, check=True, capture_output=True, text=True, env=environment()
    )
    times: list[float] = json.loads(done.stdout)
    return times


class Aggregator:
    """A real one, and what is needed to answer its rounds."""

    def __init__(self, port: int, folder: Path, devices: int, payload: int, rounds: int) -> None:
        self._port, self._folder = port, folder
        task = f"ingest-{secrets.token_hex(4)}"
        self._process = _start(folder, _task(folder, port, task, devices, payload, rounds))
        topics = [contract_topic(task), round_topic(task)]
        self._connection = MqttConnection(BrokerSettings(port=port), "driver", topics)
        self._contract: Contract | None = None
        self._payload = payload

    def __enter__(self) -> "Aggregator":
        self._connection.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__()
        self._process.terminate()
        self._process.wait()

    def opened(self) -> tuple[Contract, int]:
        """Wait for the next round; return the contract and its number."""
        contract = self._contract
        while True:
            event = self._connection.receive(60)
            if event is None:
                raise RuntimeError("no round opens")
            if not isinstance(event, Arrival) or not event.payload:
                continue
            event.acknowledge()
            if event.topic.endswith("/contract"):
                contract = self._contract = Contract.model_validate_json(event.payload)
            elif contract is not None and not event.notes.get("again"):
                return contract, Opening.model_validate_json(event.payload).round

    def take(self) -> tuple[list[bytes], Burst]:
        """Answer the next round for all devices; return the chunks, too."""
        contract, number = self.opened()
        answers = Answers(contract, self._payload)
        messages = [
            (upload_topic(contract.task, name), chunks.split(answers.frame(name, number), CHUNK)[0])
            for name in contract.devices
        ]
        file = self._folder / "uploads"
        publisher.write(file, messages)
        before = _processor_seconds(self._process.pid)
        left = _publish(self._port, file)
        came = self._stored(contract, number)
        processor = _processor_seconds(self._process.pid) - before
        return [each for _, each in messages], burst(left, came, processor)

    def _stored(self, contract: Contract, number: int) -> list[float]:
        """Return when each device's upload was stored, once the round is closed."""
        query = "select device, received from uploads where round = ? and run = ?"
        closed = "select count(*) from rounds where number > ? and run = ?"
        facts = number, contract.run
        with sqlite3.connect(self._folder / "task" / "ledger.sqlite") as database:
            while not database.execute(closed, facts).fetchone()[0]:
                if self._process.poll() is not None:
                    raise RuntimeError("the aggregator has ended")
            times = dict(database.execute(query, facts).fetchall())
        database.close()
        return [
            datetime.fromisoformat(times[name]).replace(tzinfo=UTC).timestamp()
            for name in contract.devices
        ]

    def finish(self) -> None:
        """Answer the last evaluation."""
        contract, number = self.opened()
        answers = Answers(contract, self._payload)
        for name in contract.devices:
            self._connection.send(upload_topic(contract.task, name), answers.frame(name, number))
        wait_for(self._folder / "task" / "summary.json", self._process)


def _task(folder: Path, port: int, task: str, devices: int, payload: int, rounds: int) -> Path:
    table: dict[str, Any] = tomllib.loads(task_file(task, devices, payload, port))
    table |= {"rounds": rounds, "folder": str(folder / "task"), "http": {"port": 0, "linger": True}}
    table["cohort"] |= {"quorum": devices, "deadline_seconds": 600.0}
    path = folder / "task.toml"
    path.write_text(tomli_w.dumps(table))
    return path


def _start(folder: Path, config: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        command = bound(edgeloop("aggregator", "--config", str(config)), signal.SIGTERM)
        return subprocess.Popen(command, stderr=log, env=environment())  # noqa: S603 - ours


def measure(devices: int, payload: int, rounds: int) -> list[tuple[Burst, Burst]]:
    """Return the bursts of a bare subscriber and of the aggregator, by turns."""
    found: list[tuple[Burst, Burst]] = []
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        port, _ = stack.enter_context(running(folder))
        bare = Bare(port, folder)
        stack.callback(bare.end)
        aggregator = stack.enter_context(Aggregator(port, folder, devices, payload, rounds))
        for number in range(rounds):
            console.note(f"burst {number + 1} of {rounds}")
            sent, ours = aggregator.take()
            found.append((bare.take(sent), ours))
        aggregator.finish()
    return found


def main(
    devices: Annotated[int, typer.Option(min=1, help="Messages of a burst.")] = 1000,
    payload: Annotated[str, typer.Option(help="Size of an upload.")] = "40KB",
    rounds: Annotated[int, typer.Option(min=2, help="Bursts; the first counts not.")] = 8,
) -> None:
    """Measure bursts by turns; write benchmarks/results/ingest.md."""
    size = parse_size(payload)
    pairs = measure(devices, size, rounds)[1:]
    report(devices, size, pairs)


def report(devices: int, payload: int, pairs: list[tuple[Burst, Burst]]) -> None:
    """Print and write what was measured."""
    columns = ("receiver", "messages/s", "least, most", "p50 ms", "p99 ms", "CPU ms a message")
    sides = {"bare subscriber": [a for a, _ in pairs], "aggregator, SQLite": [b for _, b in pairs]}
    rows = [[name, *_cells(devices, each)] for name, each in sides.items()]
    console.table(f"{devices} messages of {payload} bytes", columns, rows)
    shares = sorted(bare.seconds / ours.seconds for bare, ours in pairs)
    work = statistics.median(a.processor_seconds / b.processor_seconds for a, b in pairs)
    said = (
        f"{devices} devices, {payload} bytes, {len(pairs)} pairs of bursts by turns. The"
        f" aggregator's share of the bare subscriber's rate: {statistics.median(shares):.0%}"
        f" (median; from {shares[0]:.0%} to {shares[-1]:.0%}); by processor time"
        f" a message: {work:.0%}. The machine's load average was {os.getloadavg()[0]:.0f}."
    )
    console.say(said)
    machine = host_facts.machine()
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    text = f"{host_facts.markdown(columns, rows)}\n{said}\n\n{about}\n"
    content = {
        "machine": machine,
        "devices": devices,
        "payload": payload,
        "pairs": [[asdict(each) for each in pair] for pair in pairs],
    }
    host_facts.write("ingest", content, text)
    host_facts.embed(host_facts.ROOT / "docs" / "load.md", "ingest", text)


def _cells(devices: int, bursts: list[Burst]) -> list[str]:
    rates = sorted(devices / each.seconds for each in bursts)
    p50, p99, work = (
        1000 * statistics.median(getattr(each, name) for each in bursts)
        for name in ("p50", "p99", "processor_seconds")
    )
    spread = f"{rates[0]:.0f}, {rates[-1]:.0f}"
    return [f"{statistics.median(rates):.0f}", spread, f"{p50:.0f}", f"{p99:.0f}", f"{work:.2f}"]


if __name__ == "__main__":
    raise SystemExit(host_facts.run(main, "ingest"))
