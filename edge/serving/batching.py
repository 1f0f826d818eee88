"""Runs the inputs of requests through a classifier; requests that wait are run as one batch.

As many runs go on at once as there are processors. A request that finds one free begins at once, on
its own thread. One that finds none waits, and the run that ends hands over to the first that waits,
which takes all behind it along: NVIDIA Triton's dynamic batching with several instances and a queue
delay of zero. Nobody waits for company, so that a lone client's request takes as long as before.

Shape suffixes: B inputs, C classes.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.agent.predict import Exported
from edgeloop.errors import ModelError

MOST = 32
"""Inputs of a batch, if nothing else is said."""

SMALL_SECONDS = 0.002
"""A longer run of one input is worth no company: its first waits for all, and little is saved."""

GAIN = 0.95
"""A batch's time per input, as a share of a lone one's, from which on it is worth it."""

_TRIED, _REPEATS = 8, 5


@dataclass
class _Waiting:
    """A request's inputs, and what became of them.

    Attributes:
        model: that is asked.
        inputs_B: for it.
        turn: released when its batch is to be run, or has been.
        batch: what its thread is to run; empty if another thread does.
        scores_BC: of its inputs.
        problem: why there are none.
    """

    model: Exported
    inputs_B: NDArray[np.float32]
    turn: threading.Lock = field(default_factory=threading.Lock)
    batch: Sequence["_Waiting"] = ()
    scores_BC: NDArray[np.float32] | None = None
    problem: ModelError | None = None


class Batching:
    """Runs inputs, those that wait together; any thread may ask.

    Args:
        most: inputs of a batch; 1 for none.
        at_once: runs; None for one a processor that this process may use.
    """

    def __init__(self, most: int = MOST, at_once: int | None = None) -> None:
        self._most, self._at_once = most, at_once or processors()
        self._lock, self._running = threading.Lock(), 0
        self._queue: deque[_Waiting] = deque()

    def scores(self, model: Exported, inputs_B: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what `model.scores` does; its last bits may depend on what was run with it.

        Raises:
            ModelError: if the model does not do what its metadata says.
        """
        if len(inputs_B) >= self._most:
            return model.scores(inputs_B)
        mine = None
        with self._lock:
            if self._running < self._at_once:
                self._running += 1
            else:
                mine = _Waiting(model, inputs_B)
                mine.turn.acquire()
                self._queue.append(mine)
        if mine is not None:
            return self._wait(mine)
        try:
            return model.scores(inputs_B)
        finally:
            self._hand_over()

    def _wait(self, mine: _Waiting) -> NDArray[np.float32]:
        """Return the scores of inputs that found no place: once others have run them, or it has."""
        mine.turn.acquire()
        if mine.batch:
            try:
                _run(mine.batch)
            finally:
                self._hand_over(mine.batch[1:])
        if mine.scores_BC is None:
            raise mine.problem or ModelError(str(mine.model.path), "was not run", "ask again")
        return mine.scores_BC

    def _hand_over(self, done: Sequence[_Waiting] = ()) -> None:
        """Tell whose inputs were run, and the first that waits that it is its batch's turn."""
        with self._lock:
            batch = self._next() if self._queue else ()
            if batch:
                batch[0].batch = batch
            else:
                self._running -= 1
        for each in (*done, *batch[:1]):
            each.turn.release()

    def _next(self) -> Sequence[_Waiting]:
        """Take from the queue what can be run together: of one model, and not too much."""
        batch: list[_Waiting] = []
        count = 0
        while self._queue:
            first = self._queue[0]
            count += len(first.inputs_B)
            if batch and (first.model is not batch[0].model or count > self._most):
                break
            batch.append(self._queue.popleft())
        return batch


def _run(batch: Sequence[_Waiting]) -> None:
    """Run a batch; where it fails as one, each request alone."""
    if len(batch) > 1:
        try:
            whole_BC = batch[0].model.scores(np.concatenate([each.inputs_B for each in batch]))
        except ModelError:
            for each in batch:
                _run((each,))
            return
        begin = 0
        for each in batch:
            each.scores_BC = whole_BC[begin : (begin := begin + len(each.inputs_B))]
        return
    (only,) = batch
    try:
        only.scores_BC = only.model.scores(only.inputs_B)
    except ModelError as error:
        only.problem = error


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_worth_it(model: Exported) -> bool:
    """Measure whether this machine runs a batch faster than its inputs one by one.

    A few milliseconds for a small model; one run for one that is not.
    """
    if model.is_picture:  # each has a size of its own
        return False
    one_B = np.zeros((1, *model.shape), np.float32)
    if (alone := _seconds(model, one_B, 1)) > SMALL_SECONDS:
        return False
    alone = min(alone, _seconds(model, one_B, _REPEATS))
    together = _seconds(model, np.repeat(one_B, _TRIED, axis=0), _REPEATS)
    return together < GAIN * _TRIED * alone


def _seconds(model: Exported, inputs_B: NDArray[np.float32], repeats: int) -> float:
    """Return how long a run takes: the fastest of some."""
    found = []
    for _ in range(repeats):
        begun = time.perf_counter()
        model.scores(inputs_B)
        found.append(time.perf_counter() - begun)
    return min(found)
