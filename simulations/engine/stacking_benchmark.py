"""Which clients train together: what was asked for, or what a short measurement finds faster."""

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from edgeloop.algorithm import Batches, Recipe
from edgeloop.data import Federation
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files
from edgeloop.training.compute import usable_device
from edgeloop.training.sgd import train_recipe
from edgeloop.training.vectorized import ClientBatch, VectorizedTrainer
from simulations.engine.client_factory import ClientFactory
from simulations.engine.run_plan import Plan

COHORT = "cohort.json"
"""In a run's folder: what was chosen, so that a run that continues continues alike."""

CLIENTS, BATCHES, WARM, REPEATS = 8, 4, 3, 3
"""Of a measurement, at most; the rounds before it are for libraries to choose their kernels, and
for a stack to record its step."""

WORTH = 0.9
"""Of the plain cohort's seconds, what a stack must stay below to be chosen."""

StackingDecision = dict[str, Any]
"""An architecture's: clients, stacked, seconds alone and together; or why it is not stacked."""

log = logging.getLogger(__name__)


def load_or_choose(folder: Path, plan: Plan, federation: Federation) -> dict[str, StackingDecision]:
    """Return the run's choice by architecture: the one in its folder, or a new one, kept there.

    Raises:
        ConfigError: if clients are to be stacked that cannot be.
    """
    path = folder / COHORT
    if path.exists():
        stored: dict[str, StackingDecision] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    chosen = choose(plan, federation)
    if chosen:
        atomic_files.write_json(path, chosen)
    for architecture, choice in chosen.items():
        log.info("%s: %s", architecture, describe_choice(choice))
    return chosen


def stacked_architectures(chosen: Mapping[str, StackingDecision]) -> frozenset[str]:
    """Return the architectures whose clients train together."""
    return frozenset(name for name, choice in chosen.items() if choice["stacked"])


def describe_choice(choice: StackingDecision) -> str:
    """Return a choice as a person reads it."""
    if "why" in choice:
        return f"not stacked: {choice['why']}"
    ratio = choice["seconds_alone"] / choice["seconds_together"]
    return f"{'stacked' if choice['stacked'] else 'not stacked'}, measured {ratio:.1f} times faster"


def choose(plan: Plan, federation: Federation) -> dict[str, StackingDecision]:
    """Choose for each architecture that several clients have, or any on a GPU.

    Raises:
        ConfigError: if clients are to be stacked that cannot be.
    """
    asked, clients = plan.placement.cohort, plan.clients
    if clients.training.secret is not None:
        if asked == "stacked":
            problem = "clients with privacy train each by itself"
            raise ConfigError("cohort", problem, "use auto or plain")
        return {}
    if asked == "plain":
        return {}
    kinds: dict[str, list[int]] = {}
    for number, architecture in enumerate(clients.models.values()):
        kinds.setdefault(architecture, []).append(number)
    fewest = 1 if plan.placement.device == "cuda" else 2
    chosen = {
        architecture: _choice(clients, federation, architecture, numbers)
        for architecture, numbers in kinds.items()
        if len(numbers) >= fewest
    }
    return {name: _as_requested(name, choice, asked) for name, choice in chosen.items()}


def _as_requested(architecture: str, choice: StackingDecision, asked: str) -> StackingDecision:
    """Return a choice as it was asked for."""
    if asked == "auto":
        return choice
    if "why" in choice:
        problem = f"clients with {architecture} cannot be stacked ({choice['why']})"
        raise ConfigError("cohort", problem, "use auto or plain")
    return {**choice, "stacked": True}


def _choice(
    clients: ClientFactory, federation: Federation, architecture: str, numbers: Sequence[int]
) -> StackingDecision:
    client_batches = few_batches(clients, federation, architecture, numbers[:CLIENTS])
    recipe, why = clients.algorithm.recipe, ""
    if recipe is None:
        why = f"{clients.training.algorithm}'s round is more than one descent"
    elif any(client_batch.model.draws for client_batch in client_batches):
        why = "its dropout would draw other numbers"
    elif not any(len(client_batch.batches) for client_batch in client_batches):
        why = "there is no full batch to measure with"
    else:
        try:
            found = _measured(clients, recipe, client_batches)
        except RuntimeError as error:  # what torch.func cannot map says so in many ways
            why = str(error).strip().partition("\n")[0][:200]
    count = {"clients": len(numbers)}
    if why:
        return {**count, "stacked": False, "why": why}
    faster = found["seconds_together"] < WORTH * found["seconds_alone"]
    return {**count, "stacked": faster, **found}


def few_batches(
    clients: ClientFactory, federation: Federation, architecture: str, numbers: Sequence[int]
) -> list[ClientBatch]:
    """Return new models of these clients, each with its first few batches, to be timed.

    Args:
        clients: makes the run's clients.
        federation: their data.
        architecture: that these clients have.
        numbers: of these clients.
    """
    compute, batch_size = clients.training.compute, clients.training.batch_size
    device = usable_device(compute.device)
    few = BATCHES * batch_size
    client_batches = []
    for client in numbers:
        model = clients.build_model(architecture)
        clients.algorithm.init_client_state(model)
        train = federation.client(client).train
        inputs = torch.tensor(train.inputs[:few], device=device)
        inputs = inputs.contiguous(memory_format=compute.format(inputs.ndim))
        labels = torch.tensor(train.labels[:few], device=device)
        placed = compute.place(model).to(device)
        client_batches.append(ClientBatch(placed, Batches(inputs, labels, batch_size)))
    return client_batches


def _measured(
    clients: ClientFactory, recipe: Recipe[Any, Any], client_batches: Sequence[ClientBatch]
) -> dict[str, float]:
    """Return the seconds of a few steps, each client by itself and all together."""
    device, broadcast = usable_device(clients.training.compute.device), clients.algorithm.start()[1]
    torch.set_num_threads(1)
    stack: VectorizedTrainer[Any, Any] = VectorizedTrainer(
        recipe, client_batches[0].model, len(client_batches), device
    )
    trial = copy.deepcopy(list(client_batches))

    def alone() -> None:
        for client_batch in trial:
            train_recipe(recipe, client_batch.model, client_batch.batches, broadcast)

    def together() -> None:
        stack.train(trial, broadcast)

    ways = {"seconds_together": together, "seconds_alone": alone}
    for way in (*ways.values(),) * WARM:
        way()
    seconds = [{name: _seconds(way, device) for name, way in ways.items()} for _ in range(REPEATS)]
    return {name: min(each[name] for each in seconds) for name in ways}


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
