"""Looks at what a device brings to a task, and at the task: data, identity, broker, contract."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from edge.agent import architectures
from edge.agent.settings import DeviceSettings
from edge.agent.task_client import lack
from edge.device.findings import Finding, error, note, of_error, ok, warning
from edgeloop import algorithms
from edgeloop.data import DeviceData
from edgeloop.errors import EXIT_UNAVAILABLE, EdgeloopError
from edgeloop.mqtt import tls
from edgeloop.mqtt.connection import Arrival, MqttConnection
from edgeloop.protocol.task import (
    Contract,
    Opening,
    broadcast_topic,
    client_id,
    contract_topic,
    presence_topic,
    round_topic,
    upload_topic,
)
from edgeloop.runtime import modules

log = logging.getLogger(__name__)

T = TypeVar("T", Contract, Opening)

CONNECT_SECONDS, CONTRACT_SECONDS = 5.0, 2.0
"""For the broker to take the connection, and for what it keeps to arrive."""

SOON_DAYS = 1.0
"""Before a certificate's end in which it is a warning that nobody has renewed it."""


@dataclass(frozen=True)
class TaskSeen:
    """What the broker keeps of a task.

    Attributes:
        contract: its contract; None if there is none, or it cannot be read.
        opening: its open round.
        refusal: why its contract is not to be believed; empty if it is.
    """

    contract: Contract | None = None
    opening: Opening | None = None
    refusal: str = ""


def look_at_data(device: DeviceSettings) -> tuple[Finding, DeviceData | None]:
    """Look at the data as the agent does when it starts."""
    try:
        data = DeviceData(device.data.selection())
    except EdgeloopError as problem:
        return of_error("data", problem), None
    return ok("data", f"{device.data.source} can be read"), data


def look_at_certificates(device: DeviceSettings, now: datetime | None = None) -> Iterator[Finding]:
    """Look at the dates of the certificates: the device's own, and its authority's."""
    moment = now or datetime.now(UTC)
    places = {"certificate": device.broker.certificate_file, "authority": device.broker.ca_file}
    for what, path in places.items():
        if path is not None:
            yield _certificate(what, path, moment, enrolled=device.enrolment is not None)


def _certificate(what: str, path: Path, now: datetime, enrolled: bool) -> Finding:
    again = "enrol again: edgeloop enroll" if enrolled else "give a certificate, PEM"
    try:
        pem = path.read_text(encoding="utf-8", errors="replace")
    except OSError as problem:
        return error(what, f"{path}: cannot be read ({problem.strerror})", again)
    dates = tls.validity(pem)
    if dates is None:
        return error(what, f"{path}: is no certificate", again)
    if wrong := tls.check_dates(pem, now):
        return error(what, f"{path}: {wrong[0]}", f"{wrong[1]}; or {again}")
    found = f"{path} holds until {tls.written(dates[1])}"
    if (dates[1] - now).total_seconds() < SOON_DAYS * 86_400:
        return warning(what, found, "renew it now; an agent that runs renews what it enrolled for")
    return ok(what, found)


def look_at_broker(device: DeviceSettings) -> tuple[list[Finding], TaskSeen]:
    """Connect as the agent does, and see what the broker refuses, and what it keeps of the task.

    The device says that it is offline, which is true: its folder is held by no agent.
    """
    seconds = device.broker.connect_seconds or CONNECT_SECONDS
    broker = device.broker.model_copy(update={"connect_seconds": seconds})
    name, task = client_id(device.task, device.name), device.task
    topics = [contract_topic(task), round_topic(task), f"{broadcast_topic(task, 0)}/+"]
    try:
        with MqttConnection(broker, name, topics, persistent=False) as connection:
            seen = _kept(connection, task)
            presence = presence_topic(task, device.name)
            connection.publish(presence, b"offline", retain=True)
            connection.publish(upload_topic(task, device.name), b"")
            connection.flush(CONTRACT_SECONDS)
            refused = connection.refusals()
    except EdgeloopError as problem:
        return [of_error("broker", problem)], TaskSeen()
    found = [ok("broker", f"{broker.address} takes the connection")]
    remedy = f"have its owner give {name} the rights of a device of {task}; docs/enrolment.md"
    found += [error("rights", f"it {each}", remedy) for each in refused]
    if seen.refusal:
        remedy = 'have the task\'s aggregator sign; or give signatures = "accepted" in [broker]'
        found.append(error("signature", f"of the contract of {task}: {seen.refusal}", remedy))
    return found, seen


def _kept(connection: MqttConnection, task: str) -> TaskSeen:
    """Return what arrives of a task within a short time."""
    kept: dict[str, bytes] = {}
    refusal = ""
    end = time.monotonic() + CONTRACT_SECONDS
    while len(kept) < 2 and (left := end - time.monotonic()) > 0:
        event = connection.receive(left)
        if isinstance(event, Arrival):
            event.acknowledge()
            if event.trust.refusal:
                refusal = event.trust.refusal if event.topic == contract_topic(task) else refusal
            elif event.topic in (contract_topic(task), round_topic(task)):
                kept[event.topic] = event.payload
    return TaskSeen(
        _parsed(Contract, kept.get(contract_topic(task))),
        _parsed(Opening, kept.get(round_topic(task))),
        refusal,
    )


def _parsed(kind: type[T], text: bytes | None) -> T | None:
    try:
        return kind.model_validate_json(text) if text else None
    except ValidationError as problem:
        log.debug("not a %s: %s", kind.__name__, problem)
        return None


def look_at_task(
    device: DeviceSettings, contract: Contract | None, data: DeviceData | None
) -> Iterator[Finding]:
    """Look whether the device and its data are what the task is about."""
    if contract is None:
        remedy = "start its aggregator, or check task, prefix and this device's right to read there"
        yield error(
            "task", f"the broker keeps no contract of {device.task}", remedy, EXIT_UNAVAILABLE
        )
        return
    if not contract.admits(device.name):
        remedy = "have it listed in the task's devices or admit, or correct name"
        yield error("task", f"{device.name} is not invited to {contract.task}", remedy)
        return
    about = f"{contract.algorithm}, {contract.rounds} rounds, {len(contract.class_names)} classes"
    yield ok("task", f"{contract.task}: {about}")
    yield from _of_algorithm(contract)
    yield from _of_privacy(device, contract)
    if data is not None:
        yield _of_samples(contract, data)


def _of_algorithm(contract: Contract) -> Iterator[Finding]:
    try:
        based = algorithms.info(contract.algorithm).base
    except EdgeloopError as problem:
        yield of_error("algorithm", problem)
        return
    if not based and modules.find("torch") is None:
        why = lack(ModuleNotFoundError("torch", name="torch"))
        found = f"{contract.algorithm} trains a network, and {why}"
        yield error("algorithm", found, "pip install 'edgeloop[edge]'")
    if based and modules.find("onnx") is None:
        found = "takes part, and makes no classifier file: onnx is not installed"
        yield warning("model.onnx", found, "pip install 'edgeloop[edge-lite]'")


def _of_privacy(device: DeviceSettings, contract: Contract) -> Iterator[Finding]:
    own = device.privacy
    if own.is_required and contract.privacy is None:
        found = f"this device wants it, and {contract.task} has none"
        yield error("privacy", found, "have the task given a [privacy] table, or change [privacy]")
    if contract.privacy is not None and contract.privacy.delta > own.max_delta:
        found = f"the task's delta is {contract.privacy.delta}, this device allows {own.max_delta}"
        yield error("privacy", found, "have the task's lowered, or raise privacy.max_delta")
    if contract.privacy is not None and modules.find("opacus") is None:
        yield error("privacy", "opacus is not installed", "pip install 'edgeloop[privacy]'")


def _of_samples(contract: Contract, data: DeviceData) -> Finding:
    try:
        samples = data.samples_for(contract.class_names, contract.shape).data
    except EdgeloopError as problem:
        return of_error("samples", problem)
    train, test = len(samples.train), len(samples.test)
    found = f"{train} for training, {test} for testing, as the task wants them"
    if train < contract.batch_size:
        found = f"{train} for training make no batch of {contract.batch_size}"
        return warning("samples", found, "bring more: with these the device only evaluates")
    if not test:
        return warning("samples", f"{found}: its accuracy will not be known", "bring some more")
    return ok("samples", found)


def look_at_architecture(device: DeviceSettings) -> Finding:
    """Look whether there is an architecture of the name that the settings have."""
    try:
        architectures.check(device.training.architecture)
    except EdgeloopError as problem:
        return of_error("model", problem)
    return note("model", f"{device.training.architecture}, not measured: the task is not known")
