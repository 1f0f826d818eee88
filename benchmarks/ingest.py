"""How much of a bare subscriber's rate the aggregator reaches (`python -m benchmarks.ingest`).

The same payloads go through the same Mosquitto, in bursts by turns: to a paho subscriber that does
nothing with them, and to a real aggregator: on SQLite, in one process, and where a PostgreSQL is
given, there, alone and with several of `edgeloop ingest`. On a busy machine only the shares mean
something, and the processor time of each message.
"""

import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer
from sqlalchemy import create_engine, text

from benchmarks import environment as host_facts
from benchmarks import publisher
from benchmarks.brokers import running
from benchmarks.bursts import Bare, Burst, burst, publish
from benchmarks.load import wait_for
from benchmarks.processes import processor_seconds
from edge.fleet.answers import Answers, parse_size, task_file
from edgeloop.cli import console
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol import chunks
from edgeloop.protocol.task import Contract, Opening, contract_topic, round_topic, upload_topic
from edgeloop.runtime.child_processes import bound, edgeloop, environment
from edgeloop.runtime.config import BrokerSettings

CHUNK = 262_144
TAKE = [
    *(sys.executable, "-c"),
    "import sys; from cloud.aggregator.ingest_command import main; sys.exit(main(sys.argv[1:]))",
]
"""As `edgeloop ingest`, also where it is not installed yet."""


@dataclass(frozen=True)
class Load:
    """How many devices send how many bytes each, how many times."""

    devices: int
    payload: int
    rounds: int


@dataclass(frozen=True)
class Side:
    """Who takes uploads.

    Attributes:
        name: for the table.
        store: the ledger's PostgreSQL; None for SQLite.
        replicas: of `edgeloop ingest`; without any, the aggregator takes them.
    """

    name: str
    store: str | None = None
    replicas: int = 0


class Aggregator:
    """A real one, those who take uploads beside it, and what is needed to answer its rounds."""

    def __init__(self, port: int, folder: Path, load: Load, side: Side) -> None:
        self._port, self._folder, self._payload = port, folder, load.payload
        folder.mkdir()
        task = f"ingest-{secrets.token_hex(4)}"
        config = _task(folder, port, task, load, side)
        commands = [edgeloop("aggregator"), *[TAKE] * side.replicas]
        self._processes = [_start(folder / f"log-{at}", c, config) for at, c in enumerate(commands)]
        ledger = f"sqlite:///{folder / 'task' / 'ledger.sqlite'}"
        self._store = (side.store or ledger).replace("postgresql://", "postgresql+psycopg://")
        topics = [contract_topic(task), round_topic(task)]
        self._connection = MqttConnection(BrokerSettings(port=port), "driver", topics)
        self._contract: Contract | None = None

    def __enter__(self) -> "Aggregator":
        self._connection.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__()
        for process in self._processes:
            process.terminate()
            process.wait()

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

    def _wait_for_replicas(self) -> None:
        """Return when all take uploads: what is sent before that nobody sends again here."""
        for at in range(1, len(self._processes)):
            while b"takes uploads" not in (self._folder / f"log-{at}").read_bytes():
                if self._processes[at].poll() is not None:
                    raise RuntimeError("one that takes uploads has ended")
                time.sleep(0.1)  # between looks

    def take(self) -> tuple[list[bytes], Burst]:
        """Answer the next round for all devices; return the chunks, too."""
        contract, number = self.opened()
        self._wait_for_replicas()
        answers = Answers(contract, self._payload)
        messages = [
            (upload_topic(contract.task, name), chunks.split(answers.frame(name, number), CHUNK)[0])
            for name in contract.devices
        ]
        file = self._folder / "uploads"
        publisher.write(file, messages)
        before = self._worked()
        left = publish(self._port, file)
        came = self._stored(contract, number)
        return [each for _, each in messages], burst(left, came, self._worked() - before)

    def _worked(self) -> float:
        """Return the processor seconds of all processes; not those of PostgreSQL."""
        return sum(processor_seconds(each.pid) for each in self._processes)

    def _stored(self, contract: Contract, number: int) -> list[float]:
        """Return when each device's upload was stored, once the round is closed."""
        query = text("select device, received from uploads where round = :round and run = :run")
        closed = text("select count(*) from rounds where number > :round and run = :run")
        facts = {"round": number, "run": contract.run}
        engine = create_engine(self._store)
        with engine.connect() as database:
            while not database.scalar(closed, facts):
                if any(each.poll() is not None for each in self._processes):
                    raise RuntimeError("the aggregator, or one beside it, has ended")
                database.rollback()
                time.sleep(0.05)  # between looks
            times = {name: _seconds(when) for name, when in database.execute(query, facts)}
        engine.dispose()
        return [times[name] for name in contract.devices]

    def finish(self) -> None:
        """Answer the last evaluation."""
        contract, number = self.opened()
        answers = Answers(contract, self._payload)
        for name in contract.devices:
            self._connection.send(upload_topic(contract.task, name), answers.frame(name, number))
        wait_for(self._folder / "task" / "summary.json", self._processes[0])


def _seconds(when: datetime | str) -> float:
    """Return a time of a database as seconds since 1970; SQLite has a text, in UTC."""
    if isinstance(when, str):
        when = datetime.fromisoformat(when).replace(tzinfo=UTC)
    return when.timestamp()


def _task(folder: Path, port: int, task: str, load: Load, side: Side) -> Path:
    table: dict[str, Any] = tomllib.loads(task_file(task, load.devices, load.payload, port))
    table |= {"rounds": load.rounds, "folder": str(folder / "task")}
    table["http"] = {"port": 0, "linger": True}
    table["cohort"] |= {"quorum": load.devices, "deadline_seconds": 600.0}
    if side.store is not None:
        table |= {"store": side.store, "ingest": {"shared": side.replicas > 0}}
    path = folder / "task.toml"
    path.write_text(tomli_w.dumps(table))
    return path


def _start(log: Path, command: list[str], config: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        whole = bound([*command, "--config", str(config)], signal.SIGTERM)
        return subprocess.Popen(whole, stderr=file, env=environment())  # noqa: S603 - ours


def measure(load: Load, side: Side) -> list[tuple[Burst, Burst]]:
    """Return the bursts of a bare subscriber and of a side, by turns."""
    found: list[tuple[Burst, Burst]] = []
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place)
        port, _ = stack.enter_context(running(folder))
        bare = Bare(port, folder)
        stack.callback(bare.end)
        aggregator = stack.enter_context(Aggregator(port, folder / "ours", load, side))
        for number in range(load.rounds):
            console.note(f"{side.name}: burst {number + 1} of {load.rounds}")
            sent, ours = aggregator.take()
            found.append((bare.take(sent), ours))
        aggregator.finish()
    return found[1:]


def sides(store: str | None, replicas: int) -> list[Side]:
    """Return what is measured: SQLite, and PostgreSQL where there is one."""
    found = [Side("aggregator, SQLite")]
    if store is not None:
        found.append(Side("aggregator, PostgreSQL", store))
        found.append(Side(f"PostgreSQL, {replicas} of `edgeloop ingest`", store, replicas))
    return found


def main(
    devices: Annotated[int, typer.Option(min=1, help="Messages of a burst.")] = 1000,
    payload: Annotated[str, typer.Option(help="Size of an upload.")] = "40KB",
    rounds: Annotated[int, typer.Option(min=2, help="Bursts; the first counts not.")] = 8,
    store: Annotated[str | None, typer.Option(help="Of a PostgreSQL, beside SQLite.")] = None,
    replicas: Annotated[int, typer.Option(min=1, help="Of `edgeloop ingest`, there.")] = 2,
) -> None:
    """Measure bursts by turns; write benchmarks/results/ingest.md."""
    load = Load(devices, parse_size(payload), rounds)
    report(load, {side.name: measure(load, side) for side in sides(store, replicas)})


def report(load: Load, found: dict[str, list[tuple[Burst, Burst]]]) -> None:
    """Print and write what was measured."""
    columns = ("receiver", "messages/s", "least, most", "p50 ms", "p99 ms", "CPU ms a message")
    every = [a for pairs in found.values() for a, _ in pairs]
    rows = [["bare subscriber", *_cells(load.devices, every)]]
    rows += [[name, *_cells(load.devices, [b for _, b in each])] for name, each in found.items()]
    console.table(f"{load.devices} messages of {load.payload} bytes", columns, rows)
    said = [f"{load.devices} devices, {load.payload} bytes, by turns with the bare subscriber."]
    said += [_share(name, pairs) for name, pairs in found.items()]
    said += [f"The machine's load average was {os.getloadavg()[0]:.0f}."]
    console.say("\n".join(said))
    machine = host_facts.machine()
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    text_ = f"{host_facts.markdown(columns, rows)}\n{' '.join(said)}\n\n{about}\n"
    content = {
        "machine": machine,
        "devices": load.devices,
        "payload": load.payload,
        "pairs": {name: [[asdict(a), asdict(b)] for a, b in each] for name, each in found.items()},
    }
    host_facts.write("ingest", content, text_)
    host_facts.embed(host_facts.ROOT / "docs" / "load.md", "ingest", text_)


def _share(name: str, pairs: list[tuple[Burst, Burst]]) -> str:
    """Return what share of the bare subscriber's rate a side reaches, in a sentence."""
    shares = sorted(bare.seconds / ours.seconds for bare, ours in pairs)
    work = statistics.median(a.processor_seconds / b.processor_seconds for a, b in pairs)
    return (
        f"{name}: {statistics.median(shares):.0%} of its rate in {len(pairs)} pairs of bursts"
        f" (median; from {shares[0]:.0%} to {shares[-1]:.0%}), {work:.0%} by processor time."
    )


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
