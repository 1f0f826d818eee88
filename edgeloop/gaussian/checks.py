"""What a client of class statistics may bring: its base, its labels, and how many samples."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeloop.data import ClientData
from edgeloop.errors import BaseError, ConfigError, MisfitError
from edgeloop.gaussian import statistics
from edgeloop.gaussian.options import Config


class Extractor(Protocol):
    """What a base is to a client; see `edgeloop.bases.running.Base`."""

    identity: str
    dims: int
    variances_D: NDArray[np.float64]

    def features(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the features (N, D) of inputs (N, ...)."""
        ...


def check_labels(config: Config, name: str, data: ClientData) -> None:
    """Refuse samples of classes that a run does not have.

    Raises:
        MisfitError: naming one.
    """
    labels_N = np.concatenate([data.train.labels, data.test.labels])
    wrong_N = (labels_N < 0) | (labels_N >= config.classes)
    if wrong_N.any():
        which = int(labels_N[wrong_N.argmax()])
        problem = f"has a sample of class {which}, and the run has {config.classes} classes"
        raise MisfitError(name, problem, "leave that class out, or have the task take it in")


def check_samples(name: str, samples: int) -> None:
    """Refuse more samples than one client's upload may stand for.

    Raises:
        ConfigError: if there are.
    """
    if samples > statistics.MOST:
        problem = f"{name} has {samples:,} training samples, and may bring {statistics.MOST:,}"
        raise ConfigError("data", problem, "leave some of them out")


def check_base(config: Config, base: Extractor) -> None:
    """Refuse a base that is not the run's.

    Raises:
        BaseError: naming both.
    """
    if config.base_sha256 and base.identity != config.base_sha256:
        problem = f"is {base.identity[:12]}..., the run's is {config.base_sha256[:12]}..."
        raise BaseError("base", problem, "give the base that the run began with")
    if base.dims != config.dims:
        problem = f"makes features of {base.dims} numbers, the run's have {config.dims}"
        raise BaseError("base", problem, "give the base that the run began with")
