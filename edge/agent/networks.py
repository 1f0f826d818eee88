"""A device's half that trains a network of its own; it needs torch."""

import logging
from functools import partial

from edge.agent.ending import Ending
from edge.agent.half import Half
from edge.agent.settings import DeviceSettings, TrainingSettings
from edgeloop import algorithms, models
from edgeloop.client import Member
from edgeloop.data import Share
from edgeloop.models.split import SplitModel
from edgeloop.privacy.secret import Secret
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


def half(contract: Contract, settings: DeviceSettings, share: Share, secret: Secret | None) -> Half:
    """Make the device's model and algorithm as the contract says; see `edge.agent.half.half`."""
    training = settings.training
    options = algorithms.agreed_options(contract)
    algorithms.check_alike(contract.algorithm, [training.architecture.lower()], **options)
    algorithm = algorithms.agreed(contract)
    member = Member(
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
    log.info("computes with %d threads", member.choose_threads(training.threads))
    _tell_of_batches(len(share.data.train), contract.batch_size)
    first = partial(first_model, contract, training)
    ending = Ending(contract, training.mix, algorithm, member, share.pixels, first)
    return Half(member, training.architecture, algorithm.broadcast, algorithm.sizes, ending.settle)


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


def _tell_of_batches(samples: int, batch_size: int) -> None:
    if samples < batch_size:
        told = "%d training samples make no batch of %d: this device only evaluates"
        log.warning(told, samples, batch_size)
