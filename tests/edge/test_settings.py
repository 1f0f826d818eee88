"""A device's `[data]` table asks for the same shares as a simulation's options."""

from typing import Any

import pytest

from edge.agent.settings import DataSettings
from edgeloop.data import Partition
from edgeloop.errors import ConfigError
from edgeloop.runtime import config
from simulations.settings import DataSettings as Simulated

CHANGED: dict[str, Any] = {
    "partition": "pathological",
    "alpha": 0.5,
    "classes_per_client": 3,
    "balanced": True,
    "clients": 7,
}


def test_a_device_is_given_a_simulations_share() -> None:
    mine = config.parse({"source": "fashion-sample", "seed": 4, **CHANGED}, DataSettings, "data")
    whole = {"data": "fashion-sample", "partition_seed": 4, **CHANGED}
    theirs = config.parse(whole, Simulated, "simulate").federation().partition
    assert mine.chosen_partition() == theirs
    assert theirs == Partition("pathological", 7, 0.5, 3, balanced=True, seed=4)


def test_both_have_the_partitions_defaults() -> None:
    mine = DataSettings(source="fashion-sample", partition="iid").chosen_partition()
    assert mine == Partition("iid")
    assert Simulated(data="fashion-sample", partition="iid").federation().partition == mine


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", -1), ("seed", 2**32), ("alpha", float("inf")), ("alpha", 0), ("clients", 0)],
)
def test_what_no_partition_takes_is_refused_with_the_file(key: str, value: object) -> None:
    table = {"source": "fashion-sample", "partition": "iid", key: value}
    with pytest.raises(ConfigError, match=f"^device: {key}: "):
        config.parse(table, DataSettings, "device")
