"""Makes a run's clients and their algorithm, here and in the processes that it is sent to."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgeloop import algorithms, models
from edgeloop.algorithm import Algorithm
from edgeloop.bases.running import Base
from edgeloop.client import Client
from edgeloop.data import ClientData
from edgeloop.generator import Generator
from edgeloop.models.split import SplitModel
from edgeloop.training import metrics
from simulations.settings.parts import Training


@dataclass(frozen=True)
class ClientFactory:
    """Makes the clients of one run, whose data is known; picklable.

    Attributes:
        training: what they train, and how, with the data's models and width.
        options: the fields of the algorithm's Config that the run decides.
        models: each client's architecture by the client's name; the names in number order.
        shape: of one input, channels first.
        classes: C.
        base: that clients compute their features with; None where they train networks.
    """

    training: Training
    options: Mapping[str, Any]
    models: Mapping[str, str]
    shape: tuple[int, ...]
    classes: int
    base: Base | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is found again where it goes: functions have no pickle."""
        names = {each.name for each in dataclasses.fields(self)}
        return {name: value for name, value in self.__dict__.items() if name in names}

    @cached_property
    def algorithm(self) -> Algorithm[Any, Any, Any]:
        """The algorithm as its clients have it, built once a process.

        Raises:
            ConfigError: naming a hyperparameter that does not exist or is out of range.
        """
        return algorithms.load(self.training.algorithm, None, **self.options)

    def load(self, generator: Generator | None = None) -> Algorithm[Any, Any, Any]:
        """Return the algorithm; its server's part with the generator, where it needs one.

        Raises:
            ConfigError: as `algorithm`.
            GeneratorError: if the generator is not the one that the run is bound to.
        """
        if generator is None:
            return self.algorithm
        return algorithms.load(self.training.algorithm, generator, **self.options)

    def hyperparameters(self) -> dict[str, Any]:
        """Return every hyperparameter by name, the variant and the options applied."""
        return dataclasses.asdict(algorithms.config(self.training.algorithm, **self.options))

    @property
    def least_samples(self) -> int:
        """How many training samples a client must have to train at all."""
        return 1 if self.base is not None else self.training.batch_size  # statistics: no batches

    def build_model(self, architecture: str) -> SplitModel:
        """Return a model with its first weights; those of one architecture are all the same.

        Source: HtFLlib, whose clients start alike.
        """
        width, seed = self.training.width, self.training.seed
        return models.build(architecture, self.shape, self.classes, width, seed)

    def make_client(self, name: str, architecture: str, data: ClientData) -> Any:
        """Return a client of the run's algorithm.

        Args:
            name: of the client.
            architecture: of its model, if it trains one.
            data: its samples.
        """
        if self.algorithm.make_client is not None:
            return self.algorithm.make_client(name, self.base, data)
        training = self.training
        client = Client(
            name,
            self.algorithm,
            self.build_model(architecture),
            data,
            batch_size=training.batch_size,
            seed=training.seed,
            shuffle=training.shuffle,
            compute=training.compute,
            secret=training.secret,
            descents=training.descents,
        )
        client.metrics = {each: metrics.find(each) for each in training.metrics}
        return client
