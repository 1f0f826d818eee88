"""What a round costs this machine: seconds by a few training steps, bytes by what travels."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from edge.device.findings import MEGABYTE, Finding, of_error, ok
from edgeloop import algorithms, models
from edgeloop.errors import EdgeloopError, ModelError
from edgeloop.models.groups import client_architectures
from edgeloop.models.layered import split_name
from edgeloop.models.split import SplitModel
from edgeloop.protocol.task import FLOAT, Contract, Opening

STEPS = 3
"""Training steps that are timed, after one that is not."""


@dataclass(frozen=True)
class Cost:
    """What a round of an architecture costs.

    Attributes:
        seconds: of its training.
        parameters: of the model.
        threads: that were fastest, or asked for.
    """

    seconds: float
    parameters: int
    threads: int


def measure(
    architecture: str, contract: Contract, samples: int, threads: int | None = None
) -> Cost:
    """Return what a round of training costs here, by a few steps on noise.

    Args:
        architecture: a name of `edgeloop.models`.
        contract: of the task; its epochs are `epochs` of its options, or 1.
        samples: for training.
        threads: to compute with; None tries one, and all.

    Raises:
        ModelError: if the architecture does not fit the task's inputs.
    """
    shape, classes = contract.shape, len(contract.class_names)
    model = models.build(architecture, shape, classes, contract.width, contract.seed)
    numbers = [threads] if threads else sorted({1, torch.get_num_threads()})
    timed = {number: _step_seconds(model, contract, number) for number in numbers}
    fastest = min(timed, key=timed.__getitem__)
    epochs = contract.options.get("epochs", contract.options.get("local_epochs", 1))
    steps = samples // contract.batch_size * max(1, int(epochs))
    parameters = sum(each.numel() for each in model.parameters())
    return Cost(steps * timed[fastest], parameters, fastest)


def _step_seconds(model: SplitModel, contract: Contract, threads: int) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    draws = np.random.default_rng(0)
    inputs = torch.from_numpy(
        draws.standard_normal((contract.batch_size, *contract.shape), np.float32)
    )
    labels = torch.zeros(contract.batch_size, dtype=torch.int64)
    try:
        _step(model, inputs, labels)
        begun = time.perf_counter()
        for _ in range(STEPS):
            _step(model, inputs, labels)
        return (time.perf_counter() - begun) / STEPS
    finally:
        torch.set_num_threads(before)


def _step(model: SplitModel, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    model.zero_grad()
    nn.functional.cross_entropy(model(inputs)[1], labels).backward()


def upload_bytes(contract: Contract, parameters: int) -> int:
    """Return the bytes of an answer, nearly: the model's weights, or means of its classes."""
    kind = algorithms.info(contract.algorithm).upload
    if kind is not None and kind.of_weights:
        return FLOAT * parameters
    return FLOAT * len(contract.class_names) * contract.width


def look_at_model(
    architecture: str,
    contract: Contract,
    opening: Opening | None,
    samples: int,
    threads: int | None = None,
) -> Finding:
    """Measure what a round costs, and say it; a model that does not fit is an error."""
    try:
        cost = measure(architecture, contract, samples, threads)
    except EdgeloopError as problem:
        return of_error("model", problem)
    up = upload_bytes(contract, cost.parameters) / MEGABYTE
    down = f", {opening.size / MEGABYTE:.2f} MB down" if opening is not None else ""
    text = "{}: {:,} parameters; a round takes about {:.1f} s with {} threads, {:.2f} MB up{}"
    return ok(
        "model",
        text.format(architecture, cost.parameters, cost.seconds, cost.threads, up, down),
    )


def largest_within(group: str, contract: Contract, samples: int, seconds: float) -> str:
    """Return the architecture of a group with the most parameters that trains in time.

    Args:
        group: a name of `edgeloop models`, or architectures separated by commas.
        contract: of the task.
        samples: for training.
        seconds: that a round may take.

    Raises:
        ModelError: if none does, or there is no such group.
    """
    names = list(dict.fromkeys(client_architectures(group, 64)))
    fitting = set(models.fitting(contract.shape, contract.width))
    usable = [name for name in names if split_name(name)[0] in fitting] or names[:1]
    costs = {name: measure(name, contract, samples) for name in usable}
    fit = [name for name, cost in costs.items() if cost.seconds <= seconds]
    if not fit:
        fastest = min(costs, key=lambda name: costs[name].seconds)
        took = f"{fastest} takes {costs[fastest].seconds:.1f} s here"
        problem = f"none of {group} trains a round in {seconds:g} s: {took}"
        raise ModelError("--seconds-a-round", problem, "raise it, or choose another group")
    return max(fit, key=lambda name: costs[name].parameters)
