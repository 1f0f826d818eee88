"""What single choices give: memory layout, pass size, FedTGP's written-out step. Needs no data."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
import typer

from benchmarks import environment
from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedtgp
from edgeloop.cli import console
from edgeloop.knowledge import prototype_network
from edgeloop.models import SplitModel
from edgeloop.training import sgd

SHAPE, CLASSES, WIDTH = (1, 28, 28), 6, 512
SAMPLES, STEPS = 400, 200

Variants = Mapping[str, Callable[[], None]]
"""Ways to do the same work; the first is what the others are compared with."""


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Times that each variant runs.")] = 5,
) -> None:
    """Time each choice beside its alternative, interleaved, on one thread."""
    torch.set_num_threads(1)
    columns = ("choice", "variant", "seconds", "ratio")
    rows = [
        row for title, variants in questions().items() for row in rows_of(title, variants, repeats)
    ]
    title = f"single choices: medians of {repeats} runs, interleaved"
    console.table(title, columns, rows)
    text = environment.markdown(columns, rows)
    content = {
        "machine": environment.machine(),
        "rows": [dict(zip(columns, row, strict=True)) for row in rows],
    }
    environment.write("choices", content, f"{title}\n\n{text}")


def questions() -> Mapping[str, Variants]:
    """Return the work to time, by what is asked."""
    layouts = {f"training {name}": _layouts(name) for name in ("cnn", "resnet8", "harcnn-s1")}
    return {**layouts, "a pass of cnn": _passes(), "FedTGP's server": _steps()}


def rows_of(title: str, variants: Variants, repeats: int) -> list[tuple[str, str, str, str]]:
    """Time variants in turn, after one run that does not count; return a row each."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(repeats + 1):
        for name, work in variants.items():
            begun = time.perf_counter()
            work()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    return [
        (title, name, f"{value:.3f}", f"{value / first:.2f}") for name, value in medians.items()
    ]


def _layouts(architecture: str) -> Variants:
    plain, last = torch.contiguous_format, torch.channels_last
    return {
        "default layout": lambda: _train(*_model_and_batches(architecture, plain)),
        "channels last": lambda: _train(*_model_and_batches(architecture, last)),
    }


def _model_and_batches(
    architecture: str, layout: torch.memory_format
) -> tuple[SplitModel, Batches]:
    model = models.build(architecture, SHAPE, CLASSES, WIDTH)
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(SAMPLES, *SHAPE, generator=random).contiguous(memory_format=layout)
    labels = torch.arange(SAMPLES) % CLASSES
    return model.to(memory_format=layout), Batches(inputs, labels, 10)  # type: ignore[call-overload]  # torch's overloads miss this one


def _train(model: SplitModel, batches: Batches) -> None:
    sgd.train_sgd(
        model,
        batches,
        lambda forward, batch: F.cross_entropy(forward(batch[0])[1], batch[1]),
        epochs=1,
        lr=0.01,
    )


def _passes() -> Variants:
    model, batches = _model_and_batches("cnn", torch.channels_last)
    model.eval()

    def once(size: int) -> None:
        with torch.no_grad():
            for inputs, _ in batches.resized(size):
                model(inputs)

    sizes = (10, sgd.PASS_SIZE, SAMPLES)
    return {f"{size} samples a batch": partial(once, size) for size in sizes}


def _steps() -> Variants:
    config = fedtgp.Config(classes=CLASSES, width=WIDTH)
    first = prototype_network.initial_state(CLASSES, WIDTH, seed=0)
    slope_CK = torch.full((CLASSES, WIDTH), 1e-3)

    def by_autograd() -> None:
        parameters = [
            torch.tensor(array, requires_grad=True) for array in prototype_network.arrays(first)
        ]
        optimizer = torch.optim.SGD(parameters, lr=config.server_lr)
        for _ in range(STEPS):
            optimizer.zero_grad()
            (prototype_network.global_prototypes(parameters)[0] * slope_CK).sum().backward()
            optimizer.step()

    def written_out() -> None:
        parameters = [torch.tensor(array) for array in prototype_network.arrays(first)]
        for _ in range(STEPS):
            _, hidden_CK = prototype_network.global_prototypes(parameters)
            prototype_network.sgd_step(parameters, hidden_CK, slope_CK, config.server_lr)

    return {"autograd": by_autograd, "written out": written_out}


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "choices"))
