"""What a round's training and evaluation take by themselves: operations, and seconds."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.data import Federation
from edgeloop.models import SplitModel
from edgeloop.training.compute import Compute
from edgeloop.training.sgd import PASS_SIZE, cross_entropy, train_sgd
from simulations.engine import run_plan

SQUARE, REPEATS = 1024, 5
"""Of the matrix product that gives the machine's rate."""


class Work:
    """A round's training and evaluation without anything else.

    Args:
        plan: the run's.
        federation: its data.
    """

    def __init__(self, plan: run_plan.Plan, federation: Federation) -> None:
        self._plan = plan
        self._compute: Compute = plan.clients.training.compute
        self._architecture = next(iter(plan.clients.models.values()))
        self._shares = [federation.client(client) for client in range(len(federation))]
        recipe = plan.clients.load().recipe
        self._looks = bool(recipe and recipe.collect and recipe.collect_at != "during")
        self._pairs = plan.clients.hyperparameters().get("pair_batch", 0)

    def operations(self) -> int:
        """Return a round's floating-point operations; of products and convolutions, as counted."""
        size = self._plan.clients.training.batch_size
        forward, step = self._counted(1, False), self._counted(size, True)
        pairs = self._counted(self._pairs, True) if self._pairs else 0
        steps = sum(len(share.train.labels) // size for share in self._shares)
        passed = sum(len(share.test.labels) for share in self._shares)
        passed += steps * size if self._looks else 0
        return steps * (step + pairs) + passed * forward

    def seconds(self) -> float:
        """Return what the same loops take with nothing beside them; at best of two."""
        return min(self._once(), self._once())

    def _once(self) -> float:
        model = self._model()
        device = torch.device(self._compute.device)
        size = self._plan.clients.training.batch_size
        total = 0.0
        for share in self._shares:
            parts = share.train, share.test
            train, test = (self._tensor(part.inputs) for part in parts)
            labels = torch.tensor(share.train.labels, device=device)
            work = Batches(train, labels, size)
            total += _timed(lambda work=work, test=test: self._loops(model, work, test), device)  # type: ignore[misc]  # mypy does not infer a lambda's defaults
        return total

    def _loops(self, model: SplitModel, batches: Batches, test: Tensor) -> None:
        model.eval()
        with torch.no_grad():
            for inputs in test.split(PASS_SIZE):
                model(inputs)
            for inputs, _ in batches.resized(PASS_SIZE) if self._looks else ():
                model(inputs)
        train_sgd(model, batches, self._loss, epochs=1, lr=0.01)

    def _loss(self, forward: Callable[[Tensor], Any], batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = cross_entropy(forward, batch)
        if self._pairs:
            loss = loss + forward(batch[0][: self._pairs])[0].square().mean()
        return loss

    def _model(self) -> SplitModel:
        clients = self._plan.clients
        width = clients.training.width
        model = models.build(self._architecture, clients.shape, clients.classes, width)
        return self._compute.place(model).to(self._compute.device)

    def _tensor(self, inputs: Any) -> Tensor:
        tensor = torch.tensor(inputs, device=self._compute.device)
        return tensor.contiguous(memory_format=self._compute.format(tensor.ndim))

    def _counted(self, samples: int, learns: bool) -> int:
        model = self._model()
        inputs = torch.zeros(samples, *self._plan.clients.shape, device=self._compute.device)
        with FlopCounterMode(display=False) as counter:
            _, logits = model(inputs)
            if learns:
                F.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.long)).backward()
        return int(counter.get_total_flops())


def rate(device: str) -> float:
    """Return the operations a second of a large float32 matrix product."""
    left, right = (torch.randn(SQUARE, SQUARE, device=device) for _ in range(2))
    where = torch.device(device)
    seconds = [_timed(lambda: left @ right, where) for _ in range(REPEATS + 1)]
    return float(2 * SQUARE**3 / min(seconds[1:]))


def _timed(work: Callable[[], object], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun
