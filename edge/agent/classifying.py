"""A device's half that computes class statistics on a base; it needs no torch."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.agent.half import Export, Half, Settled, UnlearnedError
from edge.agent.predict import CLASS_NAMES, INPUT, KEY, OUTPUT, PIXELS, SHAPE, opened
from edge.agent.settings import DeviceSettings
from edgeloop import algorithms, files, mixing
from edgeloop.bases.running import Base
from edgeloop.data import Share
from edgeloop.errors import ModelError
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.gaussian.knowledge import GlobalStatistics
from edgeloop.task import Contract

log = logging.getLogger(__name__)

CHECKED = 64  # samples that the device's own scores and onnxruntime's must agree on
TOLERANCE = 1e-3
"""How far onnxruntime may be from the device's own scores, in parts of the largest score."""


def half(contract: Contract, settings: DeviceSettings, share: Share, base: Base) -> Half:
    """Make the half of a task with class statistics; see `edge.agent.half.half`."""
    algorithm = algorithms.agreed(contract)
    assert algorithm.half is not None  # noqa: S101 - its card says so
    member: StatisticsClient = algorithm.half(settings.name, base, share.data)
    name = f"base {base.identity[:12]}"
    exports = _exporting(contract, member, share, base)

    def settle(broadcast: GlobalStatistics) -> Settled:
        held = mixing.part(share.data.train, contract.seed, settings.name)
        return Settled(exports, member.mixed(broadcast), held)

    return Half(member, name, algorithm.broadcast, algorithm.sizes, settle, grows=True)


def _exporting(contract: Contract, member: StatisticsClient, share: Share, base: Base) -> Export:
    def write(path: Path, broadcast: GlobalStatistics, facts: Mapping[str, str]) -> float:
        if not len(share.data.train) and not broadcast.counts_C.any():
            raise UnlearnedError("class statistics", "nobody has a sample", "add some to a device")
        try:
            from edgeloop.gaussian import exporting  # needs onnx
        except ImportError as error:
            problem = "an ONNX file is written with onnx, which is not installed"
            raise UnlearnedError("model.onnx", problem, "pip install onnx") from error
        mixture = member.mixture(broadcast)
        values = {
            CLASS_NAMES: list(contract.class_names),
            SHAPE: list(contract.shape),
            PIXELS: share.pixels,
            "weight": mixture.weight,
        }
        content = exporting.classifier(
            *(base.graph, mixture, base.variances_D),
            cosine=contract.options.get("form") == "cosine",
            pixels=share.pixels,
            shape=contract.shape,
            names=(INPUT, OUTPUT),
            metadata=exporting.facts(KEY, values, facts),
        )
        with files.writing(path.parent):
            files.write(path, content)
        return _difference(path, member, broadcast, share)

    return write


def _difference(
    path: Path, member: StatisticsClient, broadcast: GlobalStatistics, share: Share
) -> float:
    """Return the largest difference of a score; remove a file that says something else.

    Raises:
        ModelError: if it is too large.
    """
    data = share.data.test if len(share.data.test) else share.data.train
    inputs = data.inputs[:CHECKED]
    own_BC = member.scores(inputs, broadcast)
    read = (inputs + 1) * 127.5 if share.pixels else inputs
    found_BC = opened(path).scores(np.asarray(read, np.float32))
    difference = float(np.abs(own_BC - found_BC).max(initial=0.0))
    if difference > TOLERANCE * max(1.0, float(np.abs(own_BC).max(initial=0.0))):
        path.unlink()
        problem = f"its scores are {difference:.2g} from the device's own"
        raise ModelError(str(path), problem, "report it, with the base")
    return difference
