"""FedTGP's server beside the arithmetic of its steps: `python -m benchmarks.server`.

A step is six products of C x K with K x K numbers, 12 C K K operations. Four ways to spend the time
are measured in turn, in one run, so that a busy moment of the machine falls on all alike: the step
with its gradient by autograd, the step as it is, its six products alone, and the operations at the
rate of a large matrix product.

Shape suffixes: N uploaded prototypes of a round, C classes, K features.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks import environment
from benchmarks.work import rate
from edgeloop.cli import console
from edgeloop.knowledge import prototype_network
from edgeloop.knowledge.contrastive_loss import (
    adaptive_margin,
    contrastive_gradient,
    contrastive_loss,
)
from edgeloop.knowledge.prototype_network import Gradient, PrototypeTraining

WIDTH, BATCH, EPOCHS = 512, 10, 100
COLUMNS = ("way", "ms a step", "seconds a round", "of the sgemm rate's")


def main(
    clients: Annotated[int, typer.Option(min=1, help="That upload a prototype a class.")] = 200,
    classes: Annotated[int, typer.Option(min=1, help="C.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Times that each way is measured.")] = 9,
    epochs: Annotated[int, typer.Option(min=1, help="Of a measurement; a round has 100.")] = 2,
) -> None:
    """Time the server's steps beside their products and the machine's rate."""
    torch.set_num_threads(1)
    seconds = measure(clients, classes, repeats, epochs)
    steps = EPOCHS * -(-clients * classes // BATCH)
    rows = [
        (way, f"{each * 1e3:.3f}", f"{each * steps:.1f}", f"{each / seconds['sgemm rate']:.2f}")
        for way, each in seconds.items()
    ]
    title = f"FedTGP's server, {clients} clients, {classes} classes, {steps} steps a round"
    console.table(f"{title}: medians of {repeats}, interleaved", COLUMNS, rows)
    content = {
        "machine": environment.machine(),
        "clients": clients,
        "classes": classes,
        "steps": steps,
        "seconds_a_step": seconds,
    }
    about = ", ".join(f"{key} {value}" for key, value in environment.machine().items())
    text = f"{title}\n\n{environment.markdown(COLUMNS, rows)}\n{about}\n"
    environment.write("server", content, text)


def measure(clients: int, classes: int, repeats: int, epochs: int) -> Mapping[str, float]:
    """Return the median seconds of a step in each way."""
    random = torch.Generator().manual_seed(0)
    labels_N = torch.arange(clients * classes) % classes
    uploaded_NK = torch.rand(len(labels_N), WIDTH, generator=random)
    margin = adaptive_margin(uploaded_NK, labels_N, classes)
    by_autograd = prototype_network.gradient_of(partial(contrastive_loss, margin=margin))
    train = partial(_train, uploaded_NK, labels_N, epochs)
    steps = epochs * -(-len(labels_N) // BATCH)
    ways: Mapping[str, Callable[[], float]] = {
        "autograd": lambda: _seconds(lambda: train(by_autograd)) / steps,
        "the step": lambda: _seconds(lambda: train(contrastive_gradient(classes, margin))) / steps,
        "its products": lambda: _seconds(lambda: _products(classes, steps)) / steps,
        "sgemm rate": lambda: 12 * classes * WIDTH**2 / rate("cpu"),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            found[name].append(way())
    return {name: statistics.median(values) for name, values in found.items()}


def _train(uploaded_NK: Tensor, labels_N: Tensor, epochs: int, gradient: Gradient) -> None:
    state = prototype_network.initial_state(int(labels_N.max()) + 1, WIDTH, seed=0)
    schedule = PrototypeTraining(epochs=epochs, lr=0.01, batch=BATCH, seed=0)
    prototype_network.train_prototypes(state, uploaded_NK, labels_N, gradient, schedule)


def _products(classes: int, steps: int) -> None:
    """Take the six products of so many steps, and nothing beside them."""
    state = prototype_network.initial_state(classes, WIDTH, seed=0)
    table_CK, inner_KK, inner_K, outer_KK, outer_K = (
        torch.tensor(array) for array in prototype_network.arrays(state)
    )
    hidden_CK, made_CK, slope_CK, table_slope_CK = prototype_network.Buffers.like(table_CK)
    for _ in range(steps):
        torch.addmm(inner_K, table_CK, inner_KK.T, out=hidden_CK)
        torch.addmm(outer_K, hidden_CK, outer_KK.T, out=made_CK)
        torch.mm(made_CK, outer_KK, out=slope_CK)
        torch.mm(slope_CK, inner_KK, out=table_slope_CK)
        outer_KK.addmm_(made_CK.T, hidden_CK, alpha=-1e-6)
        inner_KK.addmm_(slope_CK.T, table_CK, alpha=-1e-6)


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "server"))
