"""A client's model and samples on a device: evaluated, written down, restored; not trained.

Shape suffixes: N samples, C classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeloop.algorithm import Algorithm, Batches
from edgeloop.answers import Report
from edgeloop.data import ClientData, Samples
from edgeloop.errors import RunError
from edgeloop.models.split import SplitModel
from edgeloop.seeds import derive, drawing
from edgeloop.training.compute import Compute, usable_device
from edgeloop.training.evaluation import Evaluation, evaluate
from edgeloop.training.metrics import Metric
from edgeloop.training.sgd import PASS_SIZE

U = TypeVar("U")
B = TypeVar("B")


class ClientModel(Generic[U, B]):
    """One client's model, which it keeps between rounds, and the samples that it has.

    Args:
        name: of the client in the run.
        algorithm: of the run.
        model: of this client alone.
        data: of this client alone.
        compute: where and how.

    Attributes:
        metrics: what every evaluation measures beside accuracy and AUC, by name.
        measured: what the last one has measured; empty without test samples.

    Raises:
        ConfigError: if there is no such device here.
    """

    def __init__(
        self,
        name: str,
        algorithm: Algorithm[Any, U, B],
        model: SplitModel,
        data: ClientData,
        compute: Compute,
    ) -> None:
        self.name = name
        self._algorithm = algorithm
        self._compute = compute
        self._device = usable_device(compute.device)
        algorithm.init_client_state(model)
        self.model = compute.place(model)
        self._train = self._to_tensor(data.train.inputs), self._to_tensor(data.train.labels)
        self._test = self._to_tensor(data.test.inputs), self._to_tensor(data.test.labels)
        self._hits_N = torch.zeros(len(self._test[1]), dtype=torch.bool)
        self.metrics: Mapping[str, Metric] = {}
        self.measured: Mapping[str, float] = {}

    def _to_tensor(self, array: npt.NDArray[Any]) -> Tensor:
        tensor = torch.tensor(array, device=self._device)
        return tensor.contiguous(memory_format=self._compute.format(tensor.ndim))

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Have the model on the device that computes, and afterwards where it rests."""
        if self._compute.idle_device == self._device:
            yield
            return
        self.model.to(self._device)
        try:
            yield
        finally:
            self.model.to(self._compute.idle_device)

    def training_samples(self) -> Samples:
        """Return a copy of its training samples."""
        return _samples(*self._train)

    def test_samples(self) -> Samples:
        """Return a copy of its test samples."""
        return _samples(*self._test)

    def scores(self, inputs_N: npt.NDArray[np.float32], broadcast: B) -> npt.NDArray[np.float64]:
        """Return scores (N, C) of inputs (N, ...), with the last broadcast; of no sample none."""
        with self.on_device(), torch.no_grad():
            self.model.eval()
            targets = self._algorithm.targets(broadcast, self._device)
            predict = self._algorithm.predict
            loaded = self._to_tensor(inputs_N).split(PASS_SIZE)
            parts = [predict(self.model, part, targets).double().cpu() for part in loaded]
        return torch.cat(parts).numpy()

    def _load_broadcast(self, batches: Batches, broadcast: B) -> None:
        with self._dropout_seed(batches.seed, "receive"):
            self._algorithm.load_broadcast(self.model, batches, broadcast)

    def _load_and_evaluate(self, batches: Batches, broadcast: B) -> Evaluation:
        self._load_broadcast(batches, broadcast)
        return self._evaluate_model(broadcast)

    def _evaluate_model(self, broadcast: B) -> Evaluation:
        self.model.eval()
        targets = self._algorithm.targets(broadcast, self._device)
        predict = partial(self._algorithm.predict, self.model)
        compared = self._algorithm.auc_scores
        scores: list[Tensor] = []

        def noted(scores_NC: Tensor) -> Tensor:
            scores.append(scores_NC)
            return compared(scores_NC)

        found = evaluate(lambda inputs: predict(inputs, targets), *self._test, noted)
        self._hits_N = found.hits_N
        if self.metrics and len(self._test[1]):
            arrays = scores[0].detach().cpu().numpy(), self._test[1].cpu().numpy()
            self.measured = {name: metric(*arrays) for name, metric in self.metrics.items()}
        return found

    def hits(self) -> bytes:
        """Return which test samples the last evaluation classified right: bits, the first highest.

        They stay where the data is: no report has them.
        """
        return np.packbits(self._hits_N.numpy()).tobytes()

    def _dropout_seed(self, seed: int, what: str) -> AbstractContextManager[None]:
        """Give dropout a seed of its own; nothing to do for a model that has none."""
        if not self.model.draws:
            return nullcontext()
        return drawing(derive(seed, "dropout", what), self._device)

    def _report(self, evaluation: Evaluation, evaluating: float, training: float) -> Report:
        samples = (len(self._test[1]), len(self._train[1]))
        return Report(evaluation.correct, *samples, evaluating, training, evaluation.auc)

    def example_inputs(self, count: int) -> Tensor:
        """Return the first test inputs (N, ...), at most `count`, on the CPU.

        Of a client without any the first training inputs, and zeros where there are none either.
        """
        inputs = self._test[0] if len(self._test[0]) else self._train[0]
        return (inputs if len(inputs) else inputs.new_zeros(1, *inputs.shape[1:]))[:count].cpu()

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return a copy of all that the model has learned, buffers included, by name."""
        state = self.model.state_dict()
        return {name: np.array(value.cpu().numpy(), order="C") for name, value in state.items()}

    def restore(self, weights: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over what `weights` returned.

        Raises:
            RunError: if they are another model's.
        """
        try:
            state = {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
            self.model.load_state_dict(state)
        except (RuntimeError, TypeError) as error:
            raise RunError(
                f"the stored model of {self.name}",
                "is another architecture's",
                "use a new folder, or the model it was stored with",
            ) from error


def same(one: Mapping[str, npt.NDArray[Any]], other: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Return whether two models' `weights` are the same to the bit."""
    return all(np.array_equal(array, other[name], equal_nan=True) for name, array in one.items())


def _samples(inputs_N: Tensor, labels_N: Tensor) -> Samples:
    inputs = np.array(inputs_N.cpu().numpy(), order="C")
    return Samples(inputs, np.array(labels_N.cpu().numpy()))
