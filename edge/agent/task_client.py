"""A device's client of a task: the one place that knows which kind a task needs, and imports it.

A client that trains a network needs torch; it is imported only here, and only for such a task.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from edge.agent import architectures, torch_build
from edge.agent.base_store import BaseCache
from edge.agent.settings import DeviceSettings
from edgeloop import algorithms
from edgeloop.algorithm import Summing
from edgeloop.client_protocol import ClientProtocol
from edgeloop.data import DeviceSamples, Samples
from edgeloop.errors import ConfigError, ModelError
from edgeloop.privacy.secret import NoiseSecret
from edgeloop.protocol.task import Contract
from edgeloop.runtime import modules

log = logging.getLogger(__name__)

NETWORKS = "edge.agent.networks"
"""The module that trains networks."""

CPU = "cpu"
CLASSIFYING = "edge.agent.statistics_client"
"""The module that computes class statistics."""

LACKS_ONNX = (
    "makes no classifier file of %s: onnx is not installed; pip install 'edgeloop[edge-lite]'"
)


class NoKnowledgeError(ModelError):
    """A classifier that knows no class: nobody has uploaded anything."""


class Export(Protocol):
    """Writes what a client has learned as one ONNX file."""

    def __call__(self, path: Path, broadcast: Any, facts: Mapping[str, str]) -> float:
        """Write the classifier, whole or not at all, and check it.

        Args:
            path: of the file; its folder exists.
            broadcast: the last one; what it says becomes part of the classifier.
            facts: what else the file tells of where it comes from.

        Returns:
            the largest difference of a score, onnxruntime's from the client's own.

        Raises:
            ModelError: if it does not say what the client says.
            NoKnowledgeError: if the whole run brought no knowledge; nothing is written.
        """
        ...


@dataclass(frozen=True)
class FinalModel:
    """What a device has at a run's end.

    Attributes:
        export: writes it.
        mix: what the summary tells of its mixture; nothing where nothing is mixed.
        held_out: samples of its own that it is compared by with the one before; None for never.
    """

    export: Export
    mix: Mapping[str, Any] | None = None
    held_out: Samples | None = None


@dataclass(frozen=True)
class TaskClient:
    """A device's client of one run.

    Attributes:
        client: answers the rounds.
        architecture: of its model, for the summary.
        broadcast: the message that opens a round.
        sizes: those that the contract fixes, by dimension letter, for `wire.decode`.
        finalize: a round's last broadcast, to what the device ends with; it may train for long.
        current: the classifier of a round under way, by the round's broadcast; without mixing.
        grows: whether it is made again where the device's data have changed between two rounds.
        keeps_split: whether no sample may then go over from testing to training.
        first: what a run opens with, and its digest, where that follows from the contract alone: it
            need not be fetched. None elsewhere.
        summing: how its uploads are added in secret; None where single ones count.
    """

    client: ClientProtocol[Any, Any]
    architecture: str
    broadcast: type[Any]
    sizes: Mapping[str, int]
    finalize: Callable[[Any], FinalModel]
    current: Callable[[Any], FinalModel]
    grows: bool = False
    keeps_split: bool = False
    first: tuple[str, Any] | None = None
    summing: Summing | None = None


def make_task_client(
    contract: Contract,
    settings: DeviceSettings,
    share: DeviceSamples,
    secret: NoiseSecret | None,
    base_cache: BaseCache,
    again: bool = False,
) -> TaskClient:
    """Make the client that a task's contract asks for.

    Args:
        contract: of the task.
        settings: of the device.
        share: its samples, in the task's terms.
        secret: of its noise, in a task with privacy.
        base_cache: where its bases are.
        again: whether it takes the place of one that had other samples.

    Raises:
        BaseError: if the task's base does not fit the data, or cannot be run.
        ConfigError: if there is no such algorithm, or it needs torch and there is none, or
            devices of another architecture.
        ModelError: if the device's model does not fit the data, or cannot be private.
    """
    try:
        based = algorithms.info(contract.algorithm).base
        kind = import_module(CLASSIFYING if based else NETWORKS)
    except (ImportError, OSError) as error:
        problem = f"{contract.algorithm} trains a network, and {lack(error)}"
        raise ConfigError("algorithm", problem, "pip install 'edgeloop[edge]'") from error
    if based and modules.find("onnx") is None:
        log.warning(LACKS_ONNX, contract.algorithm)
    made: TaskClient = (
        kind.make_client(contract, settings, share, base_cache.base(contract))
        if based
        else kind.make_client(contract, settings, share, secret, again)
    )
    return made


def check(settings: DeviceSettings) -> None:
    """Check what the device trains networks with; without torch it trains none, and says so.

    Torch is imported only for another processor than the CPU: a device may wait for long, and may
    be in tasks only that need none.

    Raises:
        ConfigError: if there is no such processor here.
        ModelError: if there is no such model.
    """
    training = settings.training
    architectures.check(training.architecture)
    try:
        if training.device == CPU:
            _find_torch()
            if found := torch_build.misplaced():
                log.warning("torch %s; %s", found, torch_build.INSTEAD)
            return
        if found := torch_build.misplaced():
            problem = f'is "{training.device}", and torch {found}'
            raise ConfigError("training.device", problem, 'give "cpu"')
        networks = import_module(NETWORKS)
    except (ImportError, OSError) as error:
        log.info("this device takes part only in tasks that train no network: %s", lack(error))
        return
    networks.check(training)


def _find_torch() -> None:
    """Look for torch without importing it.

    Raises:
        ImportError: if it is not there.
    """
    if modules.find("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def lack(error: ImportError | OSError) -> str:
    """Say what cannot be imported, and why."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name.partition('.')[0]} is not installed"
    return f"torch cannot be imported ({str(error).partition(chr(10))[0]})"
