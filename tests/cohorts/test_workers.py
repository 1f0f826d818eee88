import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeloop.cohorts.local import LocalCohort
from edgeloop.cohorts.workers import WorkerCohort, WorkerDiedError, assign_clients
from edgeloop.errors import DataError, UnavailableError


def test_the_dearest_clients_are_dealt_first() -> None:
    costs = {"a": 1.0, "b": 5.0, "c": 4.0, "d": 2.0}
    assert assign_clients(costs, 2) == [["b", "a"], ["c", "d"]]
    assert assign_clients(costs, 9) == [["b"], ["c"], ["d"], ["a"]]


class Refusing:
    def __call__(self, names: Sequence[str]) -> LocalCohort[Any, Any]:
        raise DataError(f"client {names[0]}", "is not there", "bring it")


class Dying:
    def __call__(self, names: Sequence[str]) -> LocalCohort[Any, Any]:
        os._exit(9)


class Killed:
    def __call__(self, names: Sequence[str]) -> LocalCohort[Any, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Greedy:
    def __call__(self, names: Sequence[str]) -> LocalCohort[Any, Any]:
        torch.empty(2**50)
        raise AssertionError


def test_bad_input_in_a_worker_reaches_the_parent_whole() -> None:
    with pytest.raises(DataError, match="client a: is not there; bring it"):
        WorkerCohort(Refusing(), {"a": 1.0}, 1)


def test_a_worker_that_dies_is_an_error_and_no_endless_wait() -> None:
    with pytest.raises(WorkerDiedError, match="ended before it answered"):
        WorkerCohort(Dying(), {"a": 1.0}, 1)


def test_a_killed_worker_is_told_with_its_likely_cause() -> None:
    with pytest.raises(UnavailableError, match=r"workers: one was killed, .* memory runs out; run"):
        WorkerCohort(Killed(), {"a": 1.0}, 1)


def test_a_worker_without_memory_says_so() -> None:
    with pytest.raises(UnavailableError, match=r"memory of cpu: is used up .*; use fewer workers"):
        WorkerCohort(Greedy(), {"a": 1.0}, 1)


def test_models_are_saved_and_restored(tmp_path: Path, world: Path) -> None:
    from tests.cohorts.test_contract import ALGORITHM, NAMES, Enlist

    cohort = Enlist(world)(NAMES[:1])
    _, broadcast = ALGORITHM.start()
    cohort.ask(0, broadcast)
    cohort.save(tmp_path)
    expected = cohort.finish(1, broadcast)
    again = Enlist(world)(NAMES[:1])
    again.restore(tmp_path)
    assert again.finish(1, broadcast)[NAMES[0]].test_correct == expected[NAMES[0]].test_correct
