"""A device's client that trains a network of its own; it needs torch."""

import logging
from functools import partial

from edge.agent.final_model import Finalizer
from edge.agent.settings import DeviceSettings, TrainingSettings
from edge.agent.task_client import TaskClient
from edgeloop import algorithms, models
from edgeloop.client import Client
from edgeloop.data import DeviceSamples
from edgeloop.models.split import SplitModel
from edgeloop.privacy.secret import NoiseSecret
from edgeloop.protocol.task import Contract
from edgeloop.training.compute import Compute, usable_device

log = logging.getLogger(__name__)


def check(training: TrainingSettings) -> None:
    """Check what a device trains with.

    Raises:
        ConfigError: if there is no such processor here.
        ModelError: if there is no such model.
    """
    usable_device(training.device)
    models.missing(training.architecture)


def make_client(
    contract: Contract,
    settings: DeviceSettings,
    share: DeviceSamples,
    secret: NoiseSecret | None,
    again: bool = False,
) -> TaskClient:
    """Make the device's model and algorithm by the contract; see `make_task_client`."""
    training = settings.training
    options = algorithms.contract_options(contract)
    algorithms.check_same_architecture(
        contract.algorithm, [training.architecture.lower()], **options
    )
    algorithm = algorithms.load_for_contract(contract)
    client = Client(
        settings.name,
        algorithm,
        first_model(contract, training),
        share.data,
        batch_size=contract.batch_size,
        seed=contract.seed,
        shuffle=contract.shuffle,
        compute=Compute(training.device),
        secret=secret,
    )
    if not again:
        log.info("computing threads: %d", client.choose_threads(training.threads))
    _log_batches(len(share.data.train), contract.batch_size)
    first = partial(first_model, contract, training)
    final_model = Finalizer(contract, training.mix, algorithm, client, share.pixels, first)
    return TaskClient(
        client,
        training.architecture,
        algorithm.broadcast,
        algorithm.sizes,
        final_model.finalize,
        final_model.current,
        grows=True,
        keeps_split=True,
        summing=algorithm.summing,
    )


def first_model(contract: Contract, training: TrainingSettings) -> SplitModel:
    """Return the device's model with its first weights.

    Raises:
        ModelError: if it does not fit the task.
    """
    return models.build(
        training.architecture,
        contract.shape,
        len(contract.class_names),
        contract.width,
        contract.seed,
    )


def _log_batches(samples: int, batch_size: int) -> None:
    if samples < batch_size:
        text = "%d training samples make no batch of %d: this device only evaluates"
        log.warning(text, samples, batch_size)
