"""Algorithms whose server learns a sum come to what they come to of single uploads."""

from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms, server_loop
from edgeloop.errors import ConfigError
from edgeloop.protocol import wire
from edgeloop.secure.server import summed
from tests.algorithms import test_contract
from tests.algorithms.test_contract import Load
from tests.algorithms.test_hostile import Told, first_rounds

generator, load = test_contract.generator, test_contract.load
ADDING = (
    "apfl",
    "ditto",
    "fedala",
    "fedavg",
    "feddistill",
    "fedper",
    "fedprox",
    "fedproto",
    "fedrep",
    "fml",
    "lgfedavg",
    "perfedavg",
    "tinyproto",
)
STEP = 2.0**-24


def round_of(algorithm: Any, at: Any, uploads: dict[str, Any]) -> Any:
    closed: list[Any] = []
    server_loop.run_rounds(algorithm, Told(uploads), at.rounds + 1, at, closed.append)
    assert not closed[0].excluded
    return closed[0].run_state.broadcast


def test_what_averages_can_be_added() -> None:
    assert sorted(ADDING) == sorted(algorithms.asking("averages"))


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
