"""Algorithms whose server learns a sum come to what they come to of single uploads."""

from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms, server_loop
from edgeloop.errors import ConfigError
from edgeloop.protocol import wire
from edgeloop.secure.server import summed
from tests.algorithms import test_contract
from tests.algorithms.test_contract import BASE, CLASSES, Load
from tests.algorithms.test_hostile import Told, first_rounds

generator, load = test_contract.generator, test_contract.load
ADDING = algorithms.names_with("averages")
STEP = 2.0**-24


def round_of(algorithm: Any, at: Any, uploads: dict[str, Any]) -> Any:
    closed: list[Any] = []
    server_loop.run_rounds(algorithm, Told(uploads), at.rounds + 1, at, closed.append)
    assert not closed[0].excluded
    return closed[0].run_state.broadcast


def test_what_averages_can_be_added() -> None:
    assert {"fedavg", "feddistill", "fedproto", "tinyproto"} <= set(ADDING)
    facts = {"classes": 3, "width": 8, "shape": (1, 16, 16), "architecture": "cnn"}
    for name in ADDING:
        algorithm = algorithms.load(name, **algorithms.supported_options(name, **facts))
        assert algorithm.summing is not None, f"{name} averages: give its Algorithm `summing`"


@pytest.mark.parametrize("load", ADDING, indirect=True)
def test_the_broadcast_is_that_of_single_uploads_to_the_step(load: Load) -> None:
    algorithm = load()
    for at, honest in first_rounds(algorithm):
        plain = wire.arrays(round_of(algorithm, at, honest))
        added = wire.arrays(round_of(summed(algorithm, "x"), at, honest))
        assert plain.keys() == added.keys()
        for name, array in plain.items():
            away = np.abs(added[name].astype(np.float64) - array.astype(np.float64))
            rounding = np.spacing(np.abs(array).max(initial=1.0)).astype(np.float64)
            assert away.max(initial=0.0) <= len(honest) * STEP + rounding, name


def test_class_statistics_of_all_are_those_of_each(generator: Any) -> None:
    """Of single precision, which holds the sum of all; what is added is exact."""
    facts = algorithms.base_options("class-statistics", BASE)
    algorithm = algorithms.load("class-statistics", classes=CLASSES, precision="single", **facts)
    at, honest = first_rounds(algorithm)[0]
    plain = round_of(algorithm, at, honest)
    states = [at]
    for _ in range(2):  # the second sum takes the first one's place
        closed: list[Any] = []
        rounds = states[-1].rounds + 1
        server = summed(algorithm, "x")
        server_loop.run_rounds(server, Told(honest), rounds, states[-1], closed.append)
        added = closed[0].run_state.broadcast
        states.append(closed[0].run_state)
        assert np.array_equal(plain.counts_C, added.counts_C)
        assert np.allclose(plain.means_CD, added.means_CD, rtol=2e-7, atol=1e-9)
        assert np.allclose(plain.second_T, added.second_T, rtol=2e-7, atol=1e-9)


def test_weights_by_samples_and_prototypes_by_samples() -> None:
    for name, options in (("fedproto", {"weighted": True}), ("fml", {"shape": (1, 16, 16)})):
        algorithm = algorithms.load(name, classes=3, width=3, **options)
        summing: Any = algorithm.summing
        assert summing.by_samples is (name == "fedproto")


@pytest.mark.parametrize("name", sorted(set(algorithms.names()) - set(ADDING)))
def test_others_need_single_uploads_and_say_so(name: str) -> None:
    found: Any = algorithms.info(name)
    if found.generator or found.base:
        return
    facts = algorithms.supported_options(
        name, classes=3, width=8, shape=(1, 16, 16), architecture="cnn"
    )
    with pytest.raises(ConfigError, match="needs single uploads"):
        summed(algorithms.load(name, **facts), name)
