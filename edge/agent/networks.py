"""A device's half that trains a network of its own, and ends with it as ONNX; it needs torch."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edge.agent import export
from edge.agent.half import Export, Half
from edge.agent.settings import DeviceSettings, TrainingSettings
from edgeloop import algorithms, files, models
from edgeloop.algorithm import Algorithm
from edgeloop.compute import Compute, usable_device
from edgeloop.data import Share
from edgeloop.member import Member
from edgeloop.models.split import SplitModel
from edgeloop.secret import Secret
from edgeloop.task import Contract

log = logging.getLogger(__name__)

CHECKED = 64  # samples that torch and onnxruntime must agree on


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
        _model(contract, training),
        share.data,
        batch_size=contract.batch_size,
        seed=contract.seed,
        shuffle=contract.shuffle,
        compute=Compute(training.device),
        secret=secret,
    )
    log.info("computes with %d threads", member.choose_threads(training.threads))
    _tell_of_batches(len(share.data.train), contract.batch_size)
    exports = _exporting(contract, algorithm, member, share.pixels)
    return Half(member, training.architecture, algorithm.broadcast, algorithm.sizes, exports)


def _model(contract: Contract, training: TrainingSettings) -> SplitModel:
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


def _exporting(
    contract: Contract, algorithm: Algorithm[Any, Any, Any], member: Member[Any, Any], pixels: bool
) -> Export:
    def write(path: Path, broadcast: Any, facts: Mapping[str, str]) -> float:
        targets = algorithm.targets(broadcast, torch.device("cpu"))
        classifier = export.Classifier(
            member.model, lambda model, inputs: algorithm.predict(model, inputs, targets), pixels
        )
        with files.writing(path.parent):
            export.export(
                *(classifier, path),
                shape=contract.shape,
                class_names=contract.class_names,
                pixels=pixels,
                facts=facts,
            )
        return export.check(path, classifier, _inputs(member, pixels))

    return write


def _inputs(member: Member[Any, Any], pixels: bool) -> torch.Tensor:
    """Return some of the device's samples (N, ...) as the exported model reads them."""
    inputs = member.sample(CHECKED)
    return (inputs + 1) * 127.5 if pixels else inputs
