"""A device's own network beside its class statistics; it needs torch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from edge.agent import export
from edge.agent.networks import first_model
from edge.agent.settings import DeviceSettings
from edgeloop import expert
from edgeloop.expert import Plan, Threefold
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.gaussian.knowledge import GlobalStatistics
from edgeloop.models.tracing import trace_graph
from edgeloop.protocol.task import Contract
from edgeloop.training.compute import Compute, usable_device


@dataclass(frozen=True)
class Trained:
    """What a device with class statistics ends with, with a network of its own.

    Attributes:
        found: its experts.
        shape: of one input.
    """

    found: Threefold
    shape: tuple[int, ...]

    def scores(
        self, inputs_N: NDArray[np.float32], broadcast: GlobalStatistics
    ) -> NDArray[np.float64]:
        """Return log posteriors (N, C) of inputs (N, ...)."""
        return self.found.scores(inputs_N, broadcast)

    def as_summary(self, broadcast: GlobalStatistics) -> dict[str, Any]:
        """Return the summary's part on it; see `Threefold.told`."""
        return self.found.as_summary(broadcast)

    def graph(self) -> ModelProto | None:
        """Return the network as a graph, inputs (B, *shape) to scores (B, C), if it joins."""
        if self.found.network is None or not self.found.joins:
            return None
        predict = partial(_tempered, self.found.temperature)
        network = export.Classifier(self.found.network.model, predict, pixels=False)
        return trace_graph(network, (torch.zeros(2, *self.shape),), ("inputs",), "scores")


def training(
    contract: Contract, settings: DeviceSettings
) -> Callable[[StatisticsClient, GlobalStatistics], Trained]:
    """Return what trains a device's network in a task with class statistics.

    Raises:
        ConfigError: if there is no such processor here.
        ModelError: if its architecture does not fit the task.
    """
    usable_device(settings.training.device)
    first = partial(first_model, contract, settings.training)
    first()
    compute = Compute(settings.training.device)
    plan = Plan(first, contract.width, contract.batch_size, contract.shuffle, compute)

    def train(client: StatisticsClient, broadcast: GlobalStatistics) -> Trained:
        return Trained(expert.trained(plan, client, broadcast), contract.shape)

    return train


def _tempered(temperature: float, model: Any, inputs: Tensor) -> Tensor:
    scores_BC: Tensor = model(inputs)[1]
    return scores_BC / temperature
