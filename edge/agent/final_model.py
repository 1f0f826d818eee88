"""What a device that trains a network ends with: a mixture, as ONNX; it needs torch."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge.agent import export
from edge.agent.task_client import FinalModel
from edgeloop import algorithms, mixture
from edgeloop.algorithm import Algorithm
from edgeloop.algorithms.local import Nothing
from edgeloop.client import Client
from edgeloop.mixing import experts
from edgeloop.mixing.experts import Mix
from edgeloop.mixture import MixedModel
from edgeloop.models.split import SplitModel
from edgeloop.protocol.task import Contract
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

CHECKED = 64  # samples that torch and onnxruntime must agree on
PROGRESS = ("weight", "temperature_alone", "temperature_together")
"""Of a mixture, in its file's metadata."""


@dataclass(frozen=True)
class Finalizer:
    """Makes of the last broadcast what the device ends with.

    Attributes:
        contract: of the task.
        mix: how it mixes.
        algorithm: of the run.
        client: its client in the run.
        pixels: whether the exported model takes pixels, 0 to 255.
        initial_weights: makes its model with the first weights.
    """

    contract: Contract
    mix: Mix
    algorithm: Algorithm[Any, Any, Any]
    client: Client[Any, Any]
    pixels: bool
    initial_weights: Callable[[], SplitModel]

    def current(self, broadcast: Any) -> FinalModel:
        """Return the run's model as it is now: nothing is mixed; see `TaskClient`."""
        return FinalModel(partial(self._write, self._federated_scores, {}))

    def finalize(self, broadcast: Any) -> FinalModel:
        """Mix the run's model with one trained alone, trained for that; see `TaskClient`."""
        if self.mix == "never":
            return FinalModel(partial(self._write, self._federated_scores, {}))
        if not mixture.can_mix(self.contract.algorithm):
            held = experts.held_out_samples(
                self.client.training_samples(), self.contract.seed, self.client.name
            )
            return FinalModel(partial(self._write, self._federated_scores, {}), held_out=held)
        options = algorithms.contract_options(self.contract)
        local = mixture.local_algorithm(self.contract.algorithm, **options)
        rounds, seed = self.contract.rounds, self.contract.seed
        plan = mixture.MixingPlan(self.mix, rounds, local, self.initial_weights, seed)
        found = mixture.train_mixture(plan, self.client, broadcast)
        summary = found.as_summary(broadcast)
        _log_mixture(summary)
        facts = {name: json.dumps(summary[name]) for name in PROGRESS}
        make = partial(self._mixed, found, local)
        return FinalModel(partial(self._write, make, facts), summary, found.held_out)

    def _classifier(
        self, member: Client[Any, Any], algorithm: Algorithm[Any, Any, Any], broadcast: Any
    ) -> nn.Module:
        targets = algorithm.targets(broadcast, torch.device("cpu"))
        return export.Classifier(
            member.model,
            lambda model, inputs: algorithm.predict(model, inputs, targets),
            self.pixels,
        )

    def _federated_scores(self, broadcast: Any) -> nn.Module:
        return self._classifier(self.client, self.algorithm, broadcast)

    def _mixed(
        self, found: MixedModel, local: Algorithm[Any, Any, Any], broadcast: Any
    ) -> nn.Module:
        """Return the mixture, or the one of the two that has all the weight."""
        weight = found.weights.weight
        if found.alone is None or weight == 1:
            return self._together(found, broadcast)
        alone = self._classifier(found.alone, local, Nothing())
        if weight == 0:
            return alone
        return export.MixedClassifier(alone, self._together(found, broadcast), found.weights)

    def _together(self, found: MixedModel, broadcast: Any) -> nn.Module:
        if not found.committee:
            return self._federated_scores(broadcast)
        parts = [self._classifier(each, self.algorithm, broadcast) for each in found.committee]
        lone = len(parts) == 1
        return parts[0] if lone else export.Pooled(parts, found.weights.temperature_together)

    def _write(
        self,
        make: Callable[[Any], nn.Module],
        more: Mapping[str, str],
        path: Path,
        broadcast: Any,
        facts: Mapping[str, str],
    ) -> float:
        """Write a classifier; see `task_client.Export`."""
        classifier = make(broadcast)
        with atomic_files.writing(path.parent):
            export.export(
                classifier,
                path,
                shape=self.contract.shape,
                class_names=self.contract.class_names,
                pixels=self.pixels,
                facts={**facts, **more},
            )
        inputs = self.client.example_inputs(CHECKED)
        read = (inputs + 1) * 127.5 if self.pixels else inputs
        return export.check(path, classifier, read)


def _log_mixture(summary: Mapping[str, Any]) -> None:
    text = "mixture: the run's model has weight %.2f beside one trained alone (%s; %d samples)"
    log.info(text, summary["weight"], summary["why"], summary["held_out"])
    if summary["mixed"] is not None and summary["alone"] is not None:
        text = "accuracy on test samples: alone %.4f, together %.4f, mixed %.4f"
        log.info(text, summary["alone"], summary["together"], summary["mixed"])
