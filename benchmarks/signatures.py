"""What signatures cost: a message signed and checked, and a round of a thousand uploads.

python -m benchmarks.signatures [--store]

Signed and unsigned take turns in one run; each number is a median. A round is a real cohort's, at a
Mosquitto on this machine, without TLS on either side: the receiving process' seconds, and the time
from the first upload's leaving to the last receipt's.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks import brokers, environment, publisher
from cloud.authority import keys
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.signing import Signer, new_key, pem
from edgeloop import algorithms
from edgeloop.algorithm import Algorithm
from edgeloop.answers import Report
from edgeloop.cli import console
from edgeloop.cohorts.batches import INFLIGHT
from edgeloop.cohorts.mqtt import MqttCohort, RoundDeadlines
from edgeloop.cohorts.uploads import MemoryLog
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.mqtt.messages import Arrival, properties
from edgeloop.mqtt.seal import Seal
from edgeloop.protocol import chunks, wire
from edgeloop.protocol.task import SERVER, Contract, presence_topic, upload_topic
from edgeloop.protocol.wire import Envelope
from edgeloop.runtime.config import BrokerSettings

TASK, RUN = "presses", "measured"
CLASSES, WIDTH = 10, 100  # an upload of 4 KB
SIZES = {"4 KB": 4096, "1 MB": 2**20}
REPEATS = 7

BUSY = " The machine was busy with other things: the ratios say something, the times do not."

LONGEST = 60.0
"""Seconds for a round, before the measurement is given up."""


@dataclass
class Fleet:
    """An authority, and the certificates of a task's aggregator and devices.

    Attributes:
        folder: where they are.
        devices: their names.
    """

    folder: Path
    devices: Sequence[str]

    def __post_init__(self) -> None:
        signers = keys.make(self.folder / "authority", None, datetime.now(UTC))
        self._issue(SERVER, signers[SERVICES])
        for name in self.devices:
            self._issue(name, signers[DEVICES])

    def _issue(self, name: str, signer: Signer) -> None:
        key, subject = new_key(), Identity(TASK, name).subject
        made = signer.sign(subject, key.public_key(), (), datetime.now(UTC), timedelta(days=7))
        keys.write_key(self.folder / f"{name}.key", key)
        (self.folder / f"{name}.crt").write_text(pem(made), encoding="ascii")

    def seal(self, name: str) -> Seal:
        """Return what signs by one's certificate, and trusts both authorities."""
        return Seal(
            BrokerSettings(
                ca_file=self.folder / "authority" / "services.crt",
                devices_file=self.folder / "authority" / "devices.crt",
                certificate_file=self.folder / f"{name}.crt",
                key_file=self.folder / f"{name}.key",
            )
        )


def per_call(work: Callable[[], object], calls: int) -> float:
    """Return the seconds that one call takes."""
    begun = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - begun) / calls


def messages(fleet: Fleet) -> Iterator[dict[str, Any]]:
    """Yield, for each size, what a message takes to be signed and to be checked."""
    device, server = fleet.seal(fleet.devices[0]), fleet.seal(SERVER)
    topic, presence = (each(TASK, fleet.devices[0]) for each in (upload_topic, presence_topic))
    said = device.signed(presence, b"online", {})
    server.checked(Arrival(presence, b"online", lambda: None, said))
    for name, size in SIZES.items():
        payload = os.urandom(size)
        notes = device.signed(topic, payload, {})
        arrival = Arrival(topic, payload, lambda: None, notes)
        if server.checked(arrival).trust.refusal:
            raise RuntimeError("what is measured is not believed")
        works: dict[str, Callable[[], object]] = {
            "sum": lambda payload=payload: wire.digest(payload),  # type: ignore[misc]
            "sign": lambda payload=payload: device.signed(topic, payload, {}),  # type: ignore[misc]
            "check": lambda arrival=arrival: server.checked(arrival),  # type: ignore[misc]
            "learn": lambda: fleet_check(fleet, presence, said),
        }
        calls = {"sum": 200, "sign": 200, "check": 200, "learn": 20}
        times: dict[str, list[float]] = {each: [] for each in works}
        for _ in range(REPEATS):
            for each, work in works.items():
                times[each].append(per_call(work, calls[each]))
        found = {each: statistics.median(values) for each, values in times.items()}
        yield {"message": name, "bytes": _size(notes), "certificate_bytes": _size(said), **found}


def fleet_check(fleet: Fleet, topic: str, notes: Mapping[str, str]) -> None:
    """Check a certificate that nobody knows yet, and the message that it comes with."""
    reader = _readers.setdefault(id(fleet), fleet.seal(SERVER))
    reader._known.clear()
    reader.checked(Arrival(topic, b"online", lambda: None, notes))


_readers: dict[int, Seal] = {}


def _size(notes: Mapping[str, str]) -> int:
    about = properties(notes)
    return 0 if about is None else len(about.pack())  # type: ignore[no-untyped-call]


def packets(fleet: Fleet, seals: Mapping[str, Seal], number: int, signed: bool) -> list[bytes]:
    """Return the packets of all devices' answers to a round, the certificates known."""
    random, made = np.random.default_rng(number), []
    for at, name in enumerate(fleet.devices):
        prototypes_ND = random.standard_normal((CLASSES, WIDTH)).astype(np.float32)
        labels_N, counts_N = np.arange(CLASSES), np.ones(CLASSES, np.int64)
        upload = PrototypeUpload(labels_N, counts_N, prototypes_ND)
        frame = wire.encode(Envelope(TASK, RUN, number, name), upload, Report(1, 2, 3, 0.1, 0.2))
        (chunk,) = chunks.split(frame, 262_144)
        topic = upload_topic(TASK, name)
        about = b"\x00"
        if signed and (found := properties(seals[name].signed(topic, chunk, {}))) is not None:
            about = found.pack()  # type: ignore[no-untyped-call]
        made.append(publisher.packet(at % 65_535 + 1, topic, chunk, about))
    return made


class Server:
    """A cohort at a broker.

    Args:
        port: of the broker.
        pool: a process that publishes.
        contract: of its run.
        seal: signs and checks; None for neither.
    """

    def __init__(self, port: int, pool: Pool, contract: Contract, seal: Seal | None) -> None:
        self._port, self._pool, self._seal = port, pool, seal
        self._algorithm: Algorithm[Any, Any, Any] = algorithms.load_for_contract(contract)
        self._contract, self._number = contract, 0

    def round(self, made: list[bytes]) -> tuple[float, float]:
        """Run a round; return the process' seconds and the wall's."""
        settings, topics = BrokerSettings(port=self._port), MqttCohort.subscriptions(TASK)
        with MqttConnection(
            settings, "server", topics, persistent=False, inflight=INFLIGHT
        ) as link:
            link._seal = link._outbox._seal = self._seal  # without TLS, which is another cost
            return self._round(link, made)

    def _round(self, link: MqttConnection, made: list[bytes]) -> tuple[float, float]:
        patience = RoundDeadlines(len(self._contract.devices), LONGEST, LONGEST)
        cohort: MqttCohort[Any, Any] = MqttCohort(
            link, self._contract, self._algorithm, patience, MemoryLog()
        )
        broadcast = self._algorithm.start()[1]
        sent = self._pool.apply_async(publisher.publish, (self._port, made))
        begun, before = time.perf_counter(), time.process_time()
        answers = cohort.ask(self._number, broadcast)
        found = time.process_time() - before, time.perf_counter() - begun
        sent.get(LONGEST)
        if len(answers) != len(self._contract.devices):
            raise RuntimeError("an answer is missing")
        self._number += 1
        return found


def rounds(fleet: Fleet, folder: Path, repeats: int = REPEATS) -> dict[str, Any]:
    """Return what rounds of all devices take, signed and not, in turns."""
    contract = Contract(
        task=TASK,
        run=RUN,
        algorithm="fedproto",
        options={},
        class_names=tuple(f"class {number}" for number in range(CLASSES)),
        shape=(1, 28, 28),
        width=WIDTH,
        rounds=1000,
        devices=tuple(fleet.devices),
    )
    seals = {name: fleet.seal(name) for name in fleet.devices}
    server = fleet.seal(SERVER)
    for name in fleet.devices:  # as the devices' presence does
        topic = presence_topic(TASK, name)
        notes = seals[name].signed(topic, b"online", {})
        server.checked(Arrival(topic, b"online", lambda: None, notes))
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    with (
        get_context("fork").Pool(1) as pool,
        brokers.plain(folder, "max_queued_messages 0") as (port, _),
    ):
        servers = {kind: Server(port, pool, contract, server if kind else None) for kind in found}
        for number in range(repeats + 1):
            for kind, one in servers.items():
                times = one.round(packets(fleet, seals, number, kind))
                found[kind] += [times] if number else []  # the first one warms up
        pool.close()  # a process that is terminated says so
        pool.join()
    names = {True: "signed", False: "unsigned"}
    return {
        names[kind]: {
            "processor_seconds": statistics.median(each[0] for each in times),
            "wall_seconds": statistics.median(each[1] for each in times),
        }
        for kind, times in found.items()
    }


def table(rows: Sequence[Mapping[str, Any]], found: Mapping[str, Any], devices: int) -> str:
    """Return the results in Markdown."""
    columns = ("message", "SHA-256", "sign", "check", "check, with a new certificate", "bytes more")
    cells = [
        (
            each["message"],
            *(f"{1e6 * each[key]:.0f} us" for key in ("sum", "sign", "check", "learn")),
            f"{each['bytes']}, with the certificate {each['certificate_bytes']}",
        )
        for each in rows
    ]
    signed, unsigned = found["signed"], found["unsigned"]
    keys_ = ("processor_seconds", "wall_seconds")
    ratios = [f"{signed[key] / unsigned[key]:.2f}" for key in keys_]
    lines = [
        (name, *(f"{found[name][key]:.3f} s" for key in keys_)) for name in ("unsigned", "signed")
    ]
    below = environment.markdown(
        (f"{devices:,} uploads of 4 KB", "the aggregator's processor", "wall"),
        [*lines, ("ratio", *ratios)],
    )
    return f"{environment.markdown(columns, cells)}\n{below}"


def measure(
    devices: Annotated[int, typer.Option(min=1, help="In a round.")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of each kind.")] = REPEATS,
    store: Annotated[bool, typer.Option("--store", help="Write benchmarks/results.")] = False,
) -> None:
    """Measure what signatures cost."""
    before = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="signatures-"))
    try:
        fleet = Fleet(folder, [f"press-{number:04}" for number in range(devices)])
        rows, found = list(messages(fleet)), rounds(fleet, folder, repeats)
    finally:
        shutil.rmtree(folder)
    load = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"
    busy = BUSY if before > (os.cpu_count() or 1) else ""
    text = f"{table(rows, found, devices)}\nLoad of {os.cpu_count()} cores: {load}.{busy}\n"
    console.say(text)
    if store:
        content = {
            "machine": environment.machine(),
            "load": load,
            "messages": rows,
            "round": found,
            "devices": devices,
        }
        environment.write("signatures", content, text)


if __name__ == "__main__":
    raise SystemExit(environment.run(measure, "signatures"))
