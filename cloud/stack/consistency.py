"""Refuses what no single table of a stack can know to be wrong."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cloud.stack.layout import Layout
from cloud.stack.services import Service
from edgeloop.errors import ConfigError


def check(layout: Layout, path: Path) -> None:
    """Refuse a stack whose parts do not fit together.

    Args:
        layout: of the stack.
        path: its file, for messages.

    Raises:
        ConfigError: naming the first key that is wrong.
    """
    if not (layout.aggregators or layout.agents or layout.generator):
        remedy = "add [[aggregators]], [[agents]] or [generator]"
        raise ConfigError(str(path), "has nothing but a broker to run", remedy)
    for key, services in (("aggregators", layout.aggregators), ("agents", layout.agents)):
        _check_apart(services, f"{path}: {key}")
        if layout.broker.server_certificate_file is not None:
            _check_certificates(services, f"{path}: {key}")
    if layout.authority is not None and not layout.broker.has_own_authority:
        problem = "serves the stack's own authority, and its broker has none"
        remedy = 'take it out, or have the stack run Mosquitto: run = "mosquitto"'
        raise ConfigError(f"{path}: authority", problem, remedy)
    _check_cohorts(layout, path)
    _check_ports(layout, path)


def _check_apart(services: Iterable[Service], where: str) -> None:
    if twice := _twice(service.name for service in services):
        raise ConfigError(where, f"{twice} is there twice", "give one another name")
    if twice := _twice(os.path.realpath(service.checked.folder) for service in services):
        raise ConfigError(where, f"two have the folder {twice}", "give one another folder")


def _check_certificates(services: Iterable[Service], where: str) -> None:
    for number, service in enumerate(services):
        if service.checked.broker.certificate_file is None:
            field = f"{where}.{number}.broker.certificate_file"
            remedy = "add it and key_file; its common name is the device's, or aggregator"
            raise ConfigError(field, "is missing, and the broker asks for one", remedy)


def _check_cohorts(layout: Layout, path: Path) -> None:
    """Refuse an agent that the stack's own task does not invite."""
    cohorts = {service.checked.name: service.checked.cohort for service in layout.aggregators}
    for number, service in enumerate(layout.agents):
        device, task = service.checked.name, service.checked.task
        cohort = cohorts.get(task)
        if cohort is not None and not cohort.invites(device):
            problem = f"{device} is not in cohort.devices of {task}"
            raise ConfigError(f"{path}: agents.{number}.name", problem, "add it there")


def _check_ports(layout: Layout, path: Path) -> None:
    known: dict[int, str] = {}
    for key, _, port in layout.ports():
        if not port:
            problem = "is 0, and the stack must know it"
            raise ConfigError(f"{path}: {key}", problem, "give a number from 1 to 65535")
        if port in known:
            raise ConfigError(f"{path}: {key}", f"{port} is {known[port]}, too", "choose another")
        known[port] = key


def _twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
