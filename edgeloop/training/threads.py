"""How many threads to compute with: chosen by a short measurement, unless somebody has said."""

import copy
import os
import time
from collections.abc import Callable
from typing import Literal

import torch

from edgeloop.algorithm import Batches
from edgeloop.models.split import SplitModel
from edgeloop.training.sgd import train_sgd

Threads = int | Literal["auto"]


def choose(threads: Threads, model: SplitModel, batches: Batches) -> int:
    """Set torch's threads for this process and return their number.

    "auto" keeps to OMP_NUM_THREADS where it is set; else it times training steps of a copy of the
    model with one thread and with all the processor's, and takes what was faster. On a busy machine
    that is one: a pool as large as the machine then waits for its slowest thread at every step.
    """
    if threads != "auto":
        chosen = threads
    elif "OMP_NUM_THREADS" in os.environ:
        chosen = torch.get_num_threads()
    else:
        candidates = sorted({1, os.cpu_count() or 1})
        chosen = min(candidates, key=lambda count: _timed(count, model, batches))
    torch.set_num_threads(chosen)
    return chosen


def _timed(threads: int, model: SplitModel, batches: Batches) -> float:
    torch.set_num_threads(threads)
    used = min(len(batches), 8) * batches.size
    few = Batches(batches.inputs[:used], batches.labels[:used], batches.size)
    trial = copy.deepcopy(model)
    return min(_seconds(lambda: _train(trial, few)) for _ in range(3))


def _train(model: SplitModel, batches: Batches) -> None:
    train_sgd(model, batches, lambda forward, batch: forward(batch[0])[1].mean(), epochs=1, lr=0.0)


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
