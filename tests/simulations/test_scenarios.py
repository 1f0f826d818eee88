"""The scenarios' partitions, on the data sets that are here."""

import os
from pathlib import Path
from typing import Any

import pytest

from simulations.reproduce import scenario as scenarios
from simulations.settings import DataSettings

ROOT = Path(os.environ.get("EDGELOOP_DATA", Path(__file__).parents[3] / "shared" / "data"))


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
    place = ROOT / fields["data"]
    if fields["data"] != "fashion-sample":
        if not place.exists():
            pytest.skip(f"no {fields['data']} in {ROOT} (set EDGELOOP_DATA)")
        fields = {**fields, "data": str(place)}
    federation = DataSettings(**fields).federation()
    assert min(train for train, _ in federation.sizes()) > 0
