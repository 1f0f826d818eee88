"""The scenarios' partitions, on the data sets that are here."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop import data
from simulations.reproduce import scenario as scenarios
from simulations.settings import DataSettings
from tests import real_data


def divisions() -> list[dict[str, Any]]:
    """Return every division of a data set that a table needs at its smallest scale, once."""
    found: dict[str, dict[str, Any]] = {}
    for name in scenarios.names():
        scenario = scenarios.load(name)
        for table in scenario.plan(scenarios.smallest(scenario)).cells().values():
            fields = {key: table[key] for key in DataSettings.model_fields if key in table}
            found[str(sorted(fields.items()))] = fields
    return list(found.values())


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What writes a data set's samples, in their order, to a file of arrays.

    Each is read once: to unpack its images takes far longer than to divide them.
    """
    folder = tmp_path_factory.mktemp("arrays")

    @cache
    def written(name: str) -> Path:
        pool, path = data.read(real_data.place(name)), folder / f"{name}.npz"
        x, y = np.moveaxis(np.asarray(pool.inputs), 1, -1), pool.labels
        if pool.tested is None:
            np.savez(path, x=x, y=y)
        else:
            test, train = pool.tested, ~pool.tested
            np.savez(path, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])
        assert (data.read(path).labels == y).all(), "they are in another order"
        return path

    return written


@pytest.mark.parametrize("fields", divisions(), ids=lambda each: f"{each['data']}")
def test_a_table_can_be_dealt(fields: dict[str, Any], arrays: Callable[[str], Path]) -> None:
    """Dirichlet's draws may give some client too little, if the samples are few."""
    if fields["data"] != "fashion-sample":
        place = arrays if "partition" in fields else real_data.place
        fields = {**fields, "data": str(place(fields["data"]))}
    federation = DataSettings(**fields).federation()
    assert min(train for train, _ in federation.sizes()) > 0
