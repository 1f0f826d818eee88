"""A device's client that computes class statistics on a base; it needs no torch."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.agent import onnx_form
from edge.agent.predict import INPUT, OUTPUT, open_model
from edge.agent.settings import DeviceSettings
from edge.agent.task_client import FinalModel, NoKnowledgeError, TaskClient, lack
from edgeloop import algorithms
from edgeloop.bases.running import Base
from edgeloop.data import DeviceSamples
from edgeloop.errors import BaseError, ModelError
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.gaussian.knowledge import GlobalStatistics
from edgeloop.mixing import experts
from edgeloop.protocol import wire
from edgeloop.protocol.task import Contract
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

CHECKED = 64  # samples that the device's own scores and onnxruntime's must agree on
TOLERANCE = 1e-3
"""How far onnxruntime may be from the device's own scores, in parts of the largest score."""


OWN_NETWORK = "edge.agent.own_network"
"""The module that trains a network beside class statistics; it needs torch."""


Scores = Callable[[NDArray[np.float32], GlobalStatistics], NDArray[np.float64]]
"""Inputs (B, ...) and the last broadcast, to scores (B, C)."""


def make_client(
    contract: Contract, settings: DeviceSettings, share: DeviceSamples, base: Base
) -> TaskClient:
    """Make the client of a task with class statistics; see `task_client.make_task_client`."""
    algorithm = algorithms.load_for_contract(contract)
    assert algorithm.make_client is not None  # noqa: S101 - its INFO says so
    client: StatisticsClient = algorithm.make_client(settings.name, base, share.data)
    network = _network(contract, settings) if client.config.network else None
    ending = _Ending(contract, client, share, base, network, settings.training.mix != "never")
    name = f"base {base.identity[:12]}"
    if network is not None and network.trains is not None:
        name = f"{name}, {settings.training.architecture}"
    first = algorithm.start()[1]
    return TaskClient(
        client,
        name,
        algorithm.broadcast,
        algorithm.sizes,
        ending.settle,
        ending.current,
        grows=True,
        first=(wire.fingerprint(first), first),
        summing=algorithm.summing,
    )


@dataclass(frozen=True)
class _Network:
    """A device's own network, in a task that asks for one.

    Attributes:
        trains: it, beside a client, at the last broadcast; None where nothing can.
        why: nothing can.
    """

    trains: Callable[[StatisticsClient, GlobalStatistics], Any] | None = None
    why: str = ""


def _network(contract: Contract, settings: DeviceSettings) -> _Network:
    """Return what trains the device's network; without torch it takes part without, and says so.

    Raises:
        ConfigError: if there is no such processor here.
        ModelError: if the device's architecture does not fit the task.
    """
    try:
        module = import_module(OWN_NETWORK)
    except (ImportError, OSError) as error:
        log.warning("takes part without a network of its own: %s", lack(error))
        return _Network(why=lack(error))
    return _Network(module.training(contract, settings))


@dataclass(frozen=True)
class _Ending:
    """Makes of the last broadcast what the device ends with.

    Attributes:
        contract: of the task.
        member: the device's client of the run.
        share: its samples.
        base: of the task.
        network: its own, where the task asks for one.
        gated: whether the model in use may stay in use.
    """

    contract: Contract
    member: StatisticsClient
    share: DeviceSamples
    base: Base
    network: _Network | None
    gated: bool

    def current(self, broadcast: GlobalStatistics) -> FinalModel:
        """Return the mixture as it is now, without a network of its own; see `TaskClient`."""
        return FinalModel(partial(self._write, self.member.scores, None))

    def settle(self, broadcast: GlobalStatistics) -> FinalModel:
        """Return the mixture, with a network in it that is trained for that; see `TaskClient`."""
        train, seed = self.share.data.train, self.contract.seed
        held = experts.held_out_samples(train, seed, self.member.name) if self.gated else None
        if self.network is None or self.network.trains is None:
            mixed = self.member.mixing_metrics(broadcast)
            if self.network is not None:
                own = {"joins": False, "why": self.network.why, "without": mixed["mixed"]}
                mixed = {**mixed, "network": {**own, "alone": None}}
            _log_mixture(mixed)
            return FinalModel(partial(self._write, self.member.scores, None), mixed, held)
        found = self.network.trains(self.member, broadcast)
        export = partial(self._write, found.scores, found.graph)
        mixed = found.as_summary(broadcast)
        _log_mixture(mixed)
        return FinalModel(export, mixed, held)

    def _write(
        self,
        scores: Scores,
        network: Callable[[], Any] | None,
        path: Path,
        broadcast: GlobalStatistics,
        facts: Mapping[str, str],
    ) -> float:
        """Write a classifier; see `task_client.Export`."""
        if not len(self.share.data.train) and not broadcast.counts_C.any():
            raise NoKnowledgeError(
                "class statistics", "nobody has a sample", "add some to a device"
            )
        content = self._content(network, broadcast, facts)
        with atomic_files.writing(path.parent):
            atomic_files.write(path, content)
        return _difference(path, scores, broadcast, self.share)

    def _content(
        self,
        network: Callable[[], Any] | None,
        broadcast: GlobalStatistics,
        facts: Mapping[str, str],
    ) -> bytes:
        """Return a classifier's file.

        Raises:
            NoKnowledgeError: if there can be none, without onnx or of such a base.
        """
        try:
            import onnx

            from edgeloop.gaussian import exporting
        except ImportError as error:
            problem = "an ONNX file is written with onnx, which is not installed"
            raise NoKnowledgeError(
                "model.onnx", problem, "pip install 'edgeloop[edge-lite]'"
            ) from error
        mixture = self.member.mixture(broadcast)
        try:
            found = exporting.classifier(
                self.base.graph,
                mixture,
                self.base.variances_D,
                cosine=self.contract.options.get("form") == "cosine",
                pixels=self.share.pixels,
                shape=self.contract.shape,
                names=(INPUT, OUTPUT),
                network=None if network is None else network(),
                centre_D=self.member.centre(broadcast),
            )
            return onnx_form.completed(
                onnx.load_from_string(found),
                class_names=self.contract.class_names,
                shape=self.contract.shape,
                pixels=self.share.pixels,
                facts={"weight": json.dumps(mixture.weight), **facts},
            )
        except (BaseError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
            reason = " ".join(str(e).split())[:300]
            problem = f"no classifier can be built on the task's base ({reason})"
            remedy = "have it imported again, exported with opset 17"
            raise NoKnowledgeError("model.onnx", problem, remedy) from e


def _difference(
    path: Path, scores: Scores, broadcast: GlobalStatistics, share: DeviceSamples
) -> float:
    """Return the largest difference of a score; remove a file that says something else.

    Raises:
        ModelError: if it is too large.
    """
    data = share.data.test if len(share.data.test) else share.data.train
    inputs = data.inputs[:CHECKED]
    own_BC = scores(inputs, broadcast)
    read = (inputs + 1) * 127.5 if share.pixels else inputs
    found_BC = open_model(path).scores(np.asarray(read, np.float32))
    difference = float(np.abs(own_BC - found_BC).max(initial=0.0))
    if difference > TOLERANCE * max(1.0, float(np.abs(own_BC).max(initial=0.0))):
        path.unlink()
        problem = f"its scores are {difference:.2g} from the device's own"
        raise ModelError(str(path), problem, "report it, with the base")
    return difference


def _log_mixture(mixed: Mapping[str, Any]) -> None:
    text = "mixture: the shared classifier has weight %.2f beside its own (%s; %d samples)"
    log.info(text, mixed["weight"], mixed["why"], mixed["held_out"])
    if mixed["mixed"] is not None and mixed["alone"] is not None:
        text = "accuracy on test samples: own %.4f, together %.4f, mixed %.4f"
        log.info(text, mixed["alone"], mixed["together"], mixed["mixed"])
    if "network" in mixed:
        joins = "joins" if mixed["network"]["joins"] else "does not join"
        log.info("a network of its own %s: %s", joins, mixed["network"]["why"])
