"""What computes groups of clients, without any cluster."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulations.engine import cluster_worker, run_plan
from simulations.engine.cluster_worker import ClusterWorker, ShippedData, States, Turn
from simulations.engine.cohort_factory import CohortFactory
from simulations.settings import RunSettings


@pytest.fixture
def short(signals: Path) -> RunSettings:
    return RunSettings(algorithm="fedproto", data=str(signals), width=8, rounds=2, workers=1)


def same(one: States, other: States) -> bool:
    return all(
        np.array_equal(array, other[name][key])
        for name, weights in one.items()
        for key, array in weights.items()
    )


@pytest.mark.parametrize("kept", [4, 0])
def test_states_from_outside_are_as_good_as_those_that_are_kept(
    kept: int, short: RunSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_worker, "KEPT", kept)
    federation = short.federation()
    plan = run_plan.Plan(short, federation)
    names = tuple(plan.clients.models)
    data = ShippedData.read(federation, list(range(len(names))))
    broadcast = plan.clients.algorithm.start()[1]
    whole = CohortFactory(plan.clients, federation)(names)
    worker, states = ClusterWorker(plan.clients), None
    for number in range(2):
        turn = Turn(0, names, number, number + 1)
        outcome, states = worker.call(turn, data, states, "ask", number, broadcast, None)
        whole.ask(number, broadcast)
        assert outcome.hits == whole.hits()
        assert list(outcome.values) == list(names)
    expected: Any = whole.map_clients(lambda name, client: client.weights())
    assert states is not None
    assert same(states, expected)
    assert len(worker._kept) == min(kept, 1)


def test_a_group_whose_states_are_others_is_built_again(short: RunSettings) -> None:
    federation = short.federation()
    plan = run_plan.Plan(short, federation)
    names = tuple(plan.clients.models)
    data = ShippedData.read(federation, list(range(len(names))))
    broadcast = plan.clients.algorithm.start()[1]
    worker = ClusterWorker(plan.clients)
    _, first = worker.call(Turn(0, names, 0, 1), data, None, "ask", 0, broadcast, None)
    _, again = worker.call(Turn(0, names, 5, 6), data, None, "ask", 0, broadcast, None)
    assert same(first, again)


def test_a_worker_keeps_a_few_groups(short: RunSettings) -> None:
    federation = short.federation()
    plan = run_plan.Plan(short, federation)
    name = next(iter(plan.clients.models))
    data = ShippedData.read(federation, [0])
    broadcast = plan.clients.algorithm.start()[1]
    worker = ClusterWorker(plan.clients)
    for group in range(cluster_worker.KEPT + 2):
        turn = Turn(group, (name,), 0, 1)
        worker.call(turn, data, None, "ask", 0, broadcast, [])
    assert list(worker._kept) == list(range(2, cluster_worker.KEPT + 2))
