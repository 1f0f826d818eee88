"""What waits is run as one batch, in order; each gets its own, and a lone one never waits."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.agent.predict import Exported
from edge.serving import batching
from edge.serving.batching import Batching
from edgeloop.errors import ModelError
from tests.devices import wait_until

SHAPE = (2,)
BAD = -1.0


class Held:
    """Stands where onnxruntime's session does: each run waits until it is let go.

    Attributes:
        runs: the inputs of each run, by their first values.
    """

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.gate = threading.Semaphore(0)

    def run(self, _: Any, feed: dict[str, Any]) -> list[Any]:
        (inputs,) = feed.values()
        self.runs.append(inputs[:, 0].tolist())
        self.gate.acquire()
        if BAD in inputs:
            raise ValueError("bad")
        return [np.stack([inputs[:, 0], -inputs[:, 0], inputs[:, 0]], axis=1)]


def model(session: Any) -> Exported:
    return Exported(Path("m"), session, ("a", "b", "c"), SHAPE, False)


def one(value: float, count: int = 1) -> Any:
    return np.full((count, *SHAPE), value, np.float32)


class Asked:
    """Requests of threads, which are begun one after the other."""

    def __init__(self, batches: Batching, pool: ThreadPoolExecutor) -> None:
        self._batches, self._pool = batches, pool

    def ask(self, model: Exported, value: float, count: int = 1) -> Any:
        return self._pool.submit(self._batches.scores, model, one(value, count))

    def are_waiting(self, count: int) -> bool:
        return len(self._batches._queue) == count


def test_what_waits_is_one_batch_and_each_gets_its_own() -> None:
    session, batches = Held(), Batching(most=4, at_once=1)
    mine = model(session)
    with ThreadPoolExecutor(16) as pool:
        asked = Asked(batches, pool)
        found = [asked.ask(mine, 0)]
        wait_until(lambda: len(session.runs) == 1)
        for number in range(1, 7):
            found.append(asked.ask(mine, number))
            wait_until(partial(asked.are_waiting, number))
        session.gate.release(10)
        scores = [each.result(30)[0, 0] for each in found]
    assert scores == list(range(7))
    assert session.runs == [[0], [1, 2, 3, 4], [5, 6]]


def test_as_many_run_at_once_as_may_and_nobody_waits_for_company() -> None:
    session, batches = Held(), Batching(at_once=2)
    mine = model(session)
    with ThreadPoolExecutor(16) as pool:
        asked = Asked(batches, pool)
        found = [asked.ask(mine, 1), asked.ask(mine, 2)]
        wait_until(lambda: len(session.runs) == 2)
        session.gate.release(2)
        assert [each.result(30)[0, 0] for each in found] == [1, 2]
    session.gate.release()
    assert batches.scores(mine, one(3)).shape == (1, 3)


def test_models_are_not_mixed_and_a_large_request_goes_its_own_way() -> None:
    old, new, batches = Held(), Held(), Batching(most=4, at_once=1)
    first, second = model(old), model(new)
    with ThreadPoolExecutor(16) as pool:
        asked = Asked(batches, pool)
        found = [asked.ask(first, 0)]
        wait_until(lambda: len(old.runs) == 1)
        for place, (which, value, count) in enumerate(
            ((first, 1, 2), (second, 2, 1), (second, 3, 3))
        ):
            found.append(asked.ask(which, value, count))
            wait_until(partial(asked.are_waiting, place + 1))
        new.gate.release(2)
        large = asked.ask(second, 9, 4)
        assert large.result(30).shape == (4, 3)
        old.gate.release(2)
        assert [each.result(30)[0, 0] for each in found] == [0, 1, 2, 3]
    assert old.runs == [[0], [1, 1]]
    assert new.runs == [[9, 9, 9, 9], [2, 3, 3, 3]]


def test_only_who_asked_for_it_hears_of_a_failure() -> None:
    session, batches = Held(), Batching(at_once=1)
    mine = model(session)
    with ThreadPoolExecutor(16) as pool:
        asked = Asked(batches, pool)
        found = [asked.ask(mine, 0)]
        wait_until(lambda: len(session.runs) == 1)
        for place, value in enumerate((1, BAD, 2)):
            found.append(asked.ask(mine, value))
            wait_until(partial(asked.are_waiting, place + 1))
        session.gate.release(10)
        assert [found[n].result(30)[0, 0] for n in (0, 1, 3)] == [0, 1, 2]
        with pytest.raises(ModelError, match="cannot be run"):
            found[2].result(30)
    session.gate.release()
    assert batches.scores(mine, one(5))[0, 0] == 5  # the failure has left no run behind


@pytest.mark.parametrize(
    ("alone", "together", "worth"), [(1.0, 4.0, True), (1.0, 7.9, False), (5.0, 5.0, False)]
)
def test_it_is_measured_whether_a_batch_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, alone: float, together: float, worth: bool
) -> None:
    def seconds(_: Exported, inputs: Any, repeats: int) -> float:
        return (alone if len(inputs) == 1 else together) / 1000

    monkeypatch.setattr(batching, "_seconds", seconds)
    assert batching.is_worth_it(model(Held())) is worth
