"""Plays the part of thousands of devices, to see what a broker and an aggregator can take."""

import asyncio
import json
import resource
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edge.fleet.answers import Answers, parse_size, task_file
from edge.fleet.fleet import Fleet, Plan
from edge.fleet.measured import COLUMNS, Measured, quantile, rows
from edge.fleet.names import names_of
from edge.fleet.settings import FleetSettings
from edgeloop.cli import console, options
from edgeloop.errors import EXIT_UNAVAILABLE, BrokerAwayError, ConfigError
from edgeloop.mqtt.connection import MqttConnection
from edgeloop.mqtt.leaving import contract_at
from edgeloop.protocol.task import Contract, contract_topic
from edgeloop.runtime import atomic_files
from edgeloop.runtime.config import BrokerSettings, first_line

if TYPE_CHECKING:
    from edge.fleet.identities import Identities

CONTRACT_SECONDS = 30.0
"""For an aggregator that has just been started to publish its contract."""

FIRST = "device-00000"
"""Of the tasks that `--write-task` writes: it reads the contract where nobody is enrolled yet."""

RIGHTS_SECONDS = 10.0
"""An authority looks every five seconds, and a broker elsewhere asks it."""

SPARE = 64
"""Descriptors of a process besides its connections."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop fleet` with these arguments."""
    return console.run(fleet, "fleet", arguments)


@options.of(FleetSettings, "fleet", ranges=True)
def fleet(asked: FleetSettings) -> None:
    """Simulate many devices that answer every round of a running task, and measure times."""
    size = None if asked.payload is None else parse_size(asked.payload)
    broker = asked.broker_settings()
    if asked.write_task is not None:
        text = task_file(asked.task, asked.devices, size or 40_000, broker.port)
        atomic_files.write(asked.write_task, text.encode())
        console.say(
            f"written: {asked.write_task}; with a broker on port {broker.port}, start it:"
            f" edgeloop aggregator --config {asked.write_task}"
        )
        return
    allow_connections(asked.devices)
    known = _identities(asked, broker)
    contract = _contract(broker, asked.task, known)
    names = names_of(contract, asked.devices)
    brokers = {} if known is None else {name: known.broker(name) for name in names}
    _wait_for_rights(known)
    plan = Plan(contract, names, Answers(contract, size), asked.spread, brokers)
    found = _run(plan, broker, asked.out)
    if not found.connected:
        problem = next(iter(found.failures), "cannot be reached")
        raise BrokerAwayError(f"broker {broker.address}", problem, "see its log")
    if found.failures or found.connected < asked.devices:
        raise typer.Exit(EXIT_UNAVAILABLE)


def allow_connections(devices: int) -> None:
    """Have this process open as many connections as it needs.

    Raises:
        ConfigError: if the system does not let it.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = devices + SPARE
    if most != resource.RLIM_INFINITY and needed > most:
        problem = f"{devices} devices, and this process may open {most} connections"
        raise ConfigError("devices", problem, f"raise the limit: ulimit -n {needed}")
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def _identities(asked: FleetSettings, given: BrokerSettings) -> "Identities | None":
    """Return the devices' identities; None where they have none, and nothing is signed."""
    folder, server, fingerprint = asked.identities, asked.server, asked.ca_fingerprint
    token = asked.token_file
    authority = (server, fingerprint, token)
    if folder is None:
        if any(authority):
            remedy = "give --identities FOLDER, where the devices' identities are kept"
            raise ConfigError("--server", "admits devices, whose keys must be kept", remedy)
        return None
    from edge.fleet.identities import REMEDY, Enrolling, Identities, Place, pinned

    if not any(authority):
        return Identities(folder, asked.task, None, given)
    if server is None or fingerprint is None or token is None:
        raise ConfigError("--server", "is one of three that go together", REMEDY)
    place = Place.of(server)
    text = first_line(token, "--token-file").strip()
    return Identities(folder, asked.task, Enrolling(place, pinned(place, fingerprint), text), given)


def _wait_for_rights(identities: "Identities | None") -> None:
    """Give the authority time to tell the broker of devices that have just enrolled."""
    if identities is not None and identities.new:
        number = len(identities.new)
        console.say(f"{number} enrolled; waits {RIGHTS_SECONDS:.0f} s for the broker to know them")
        time.sleep(RIGHTS_SECONDS)
        identities.new.clear()


def _contract(broker: BrokerSettings, task: str, identities: "Identities | None") -> Contract:
    """Return the task's contract, as the first of the devices reads it."""
    name = f"edgeloop.fleet.{secrets.token_hex(4)}"
    if identities is not None:
        broker = identities.first() or identities.broker(FIRST)
        _wait_for_rights(identities)
    with MqttConnection(broker, name, [contract_topic(task)], persistent=False) as connection:
        contract = contract_at(connection, task, CONTRACT_SECONDS)
    if contract.signatures == "required" and identities is None:
        problem = f"{task} takes signed answers only, and a fleet without identities signs nothing"
        remedy = "give --identities FOLDER, with --server, --ca-fingerprint and --token-file"
        raise ConfigError("task", problem, remedy)
    if contract.secure:
        problem = f"{task} adds uploads in secret, and a fleet sends single ones"
        raise ConfigError("task", problem, "leave secure out of its [cohort] table")
    return contract


def _run(plan: Plan, broker: BrokerSettings, out: Path | None) -> Measured:
    """Run a fleet; tell what it measured, even if it is stopped."""
    with console.progress("fleet", len(plan.devices)) as progress:
        found = Measured(len(plan.devices))

        async def run() -> None:
            nonlocal found
            fleet = Fleet(plan, broker, progress)
            found = fleet.measured
            await fleet.run()

        try:
            asyncio.run(run())
        finally:
            _tell(found, out)
    return found


def _tell(found: Measured, out: Path | None) -> None:
    said = f"{found.connected} of {found.devices} devices connected"
    console.say(f"{said} in {found.connect_seconds:.1f} s")
    console.table(
        "from publish to the broker's acknowledgement, and to the receipt", COLUMNS, rows(found)
    )
    for what, times in found.failures.most_common():
        console.say(f"{times} times: {what}")
    if out is not None:
        atomic_files.write(out, (json.dumps(_as_json(found), indent=1) + "\n").encode())


def _as_json(found: Measured) -> dict[str, Any]:
    rounds = {
        number: {
            "uploads": len(each.latencies),
            "bytes": each.size,
            "uploads_per_second": each.rate,
            "p50_seconds": quantile(each.latencies, 0.5),
            "p99_seconds": quantile(each.latencies, 0.99),
            "receipts": len(each.receipts),
            "receipt_p50_seconds": quantile(each.receipts, 0.5),
            "receipt_p99_seconds": quantile(each.receipts, 0.99),
        }
        for number, each in found.rounds.items()
    }
    return {
        "devices": found.devices,
        "connected": found.connected,
        "connect_seconds": found.connect_seconds,
        "rounds": rounds,
        "failures": dict(found.failures),
    }
