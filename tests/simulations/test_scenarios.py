"""The scenarios' partitions, on the data sets that are here."""

from typing import Any

import pytest

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


@pytest.mark.parametrize("fields", divisions(), ids=lambda each: f"{each['data']}")
def test_a_table_can_be_dealt(fields: dict[str, Any]) -> None:
    """Dirichlet's draws may give some client too little, if the samples are few."""
    if fields["data"] != "fashion-sample":
        fields = {**fields, "data": str(real_data.place(fields["data"]))}
    federation = DataSettings(**fields).federation()
    assert min(train for train, _ in federation.sizes()) > 0
