"""A device's half that trains a network of its own, and ends with it as ONNX; it needs torch."""

import json
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from edge.agent import export
from edge.agent.half import Export, Half, Settled
from edge.agent.settings import DeviceSettings, TrainingSettings
from edgeloop import algorithms, files, mixture, models
from edgeloop.algorithm import Algorithm
from edgeloop.algorithms.local import Nothing
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
    settle = _settling(contract, training, algorithm, member, share.pixels)
    return Half(member, training.architecture, algorithm.broadcast, algorithm.sizes, settle)


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


def _settling(
    contract: Contract,
    training: TrainingSettings,
    algorithm: Algorithm[Any, Any, Any],
    member: Member[Any, Any],
    pixels: bool,
) -> Callable[[Any], Settled]:
    """Return what makes of the last broadcast what the device ends with."""
    options = algorithms.agreed_options(contract)

    def classifier(of: Member[Any, Any], its: Algorithm[Any, Any, Any], broadcast: Any) -> Any:
        targets = its.targets(broadcast, torch.device("cpu"))
        return export.Classifier(
            of.model, lambda model, inputs: its.predict(model, inputs, targets), pixels
        )

    def settle(broadcast: Any) -> Settled:
        if training.mix == "never" or not mixture.mixes(contract.algorithm):
            made = partial(classifier, member, algorithm, broadcast)
            return Settled(_exporting(contract, member, pixels, made))
        local = mixture.local(contract.algorithm, **options)
        first = partial(_model, contract, training)
        plan = mixture.Plan(training.mix, contract.rounds, local, first, contract.seed)
        found = mixture.made(plan, member, broadcast)
        told = found.told(broadcast)
        _tell(told)

        def mixed() -> nn.Module:
            weight = found.choice.weight
            if found.alone is None or weight == 1:
                return cast(nn.Module, classifier(member, algorithm, broadcast))
            alone = classifier(found.alone, local, Nothing())
            if weight == 0:
                return cast(nn.Module, alone)
            together = classifier(member, algorithm, broadcast)
            return export.Mixed(alone, together, found.choice)

        facts = {
            name: json.dumps(told[name])
            for name in ("weight", "temperature_alone", "temperature_together")
        }
        held = found.held_out
        return Settled(_exporting(contract, member, pixels, mixed, facts), told, held)

    return settle


def _tell(told: Mapping[str, Any]) -> None:
    text = "mixes %.2f of the run's model with one trained alone: %s, by %d samples"
    log.info(text, told["weight"], told["why"], told["held_out"])
    if told["mixed"] is not None and told["alone"] is not None:
        text = "accuracy on test samples: alone %.4f, together %.4f, mixed %.4f"
        log.info(text, told["alone"], told["together"], told["mixed"])


def _exporting(
    contract: Contract,
    member: Member[Any, Any],
    pixels: bool,
    make: Callable[[], nn.Module],
    more: Mapping[str, str] | None = None,
) -> Export:
    def write(path: Path, broadcast: Any, facts: Mapping[str, str]) -> float:
        classifier = make()
        with files.writing(path.parent):
            export.export(
                *(classifier, path),
                shape=contract.shape,
                class_names=contract.class_names,
                pixels=pixels,
                facts={**facts, **(more or {})},
            )
        return export.check(path, classifier, _inputs(member, pixels))

    return write


def _inputs(member: Member[Any, Any], pixels: bool) -> torch.Tensor:
    """Return some of the device's samples (N, ...) as the exported model reads them."""
    inputs = member.sample(CHECKED)
    return (inputs + 1) * 127.5 if pixels else inputs
