"""What a device brings to a task, and its place in it."""

import logging
from dataclasses import dataclass
from typing import Any

from edge.agent.settings import DeviceSettings
from edgeloop import algorithms, data, models
from edgeloop.algorithm import Algorithm
from edgeloop.compute import Compute
from edgeloop.data import ClientData, Federation
from edgeloop.errors import DataError
from edgeloop.member import Member
from edgeloop.task import Contract

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seat:
    """A device's place in one run: everything that the contract decides."""

    contract: Contract
    algorithm: Algorithm[Any, Any, Any]
    member: Member[Any, Any]


@dataclass(frozen=True)
class Own:
    """What the device brings along, whatever the task."""

    settings: DeviceSettings
    federation: Federation
    data: ClientData


def own(settings: DeviceSettings) -> Own:
    """Read the device's data.

    Raises:
        DataError: if it cannot be read.
    """
    asked = settings.data
    federation = data.load(asked.source, asked.dealt(), asked.layout, asked.image_size)
    return Own(settings, federation, federation.client(asked.client))


def seat(own: Own, contract: Contract) -> Seat:
    """Make the device's model and algorithm as the contract says.

    Raises:
        ConfigError: if the task needs devices of one architecture, and this one has another.
        DataError: if the device's data is not what the task is about.
        ModelError: if the device's model does not fit the data.
    """
    _check(own, contract)
    algorithm = algorithms.agreed(contract)
    training = own.settings.training
    options = algorithms.agreed_options(contract)
    algorithms.check_alike(contract.algorithm, [training.architecture.lower()], **options)
    model = models.build(
        training.architecture,
        contract.shape,
        len(contract.class_names),
        contract.width,
        contract.seed,
    )
    member = Member(
        own.settings.name,
        algorithm,
        model,
        own.data,
        batch_size=contract.batch_size,
        seed=contract.seed,
        compute=Compute(training.device),
    )
    log.info("computes with %d threads", member.choose_threads(training.threads))
    return Seat(contract, algorithm, member)


def _check(own: Own, contract: Contract) -> None:
    name = own.settings.name
    if name not in contract.devices:
        raise DataError(
            "name", f"{name} is not invited to {contract.task}", "add it to the task's devices"
        )
    if own.federation.shape != contract.shape:
        raise DataError(
            "data.source",
            f"its inputs have the shape {own.federation.shape}, the task's {contract.shape}",
            "name the task's kind of data",
        )
    if own.federation.class_names != contract.class_names:
        raise DataError(
            "data.source",
            f"its classes are {', '.join(own.federation.class_names)[:200]}, "
            f"the task's {', '.join(contract.class_names)[:200]}",
            "name the task's kind of data",
        )
