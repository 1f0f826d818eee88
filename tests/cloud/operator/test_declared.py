"""A FederatedTask has the aggregator's settings: the CRD is a copy of `TaskSettings`, held here."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from cloud.aggregator.settings import TaskSettings
from cloud.operator.config import FROZEN
from edgeloop.protocol.task import Contract
from edgeloop.runtime.config import PrivacySettings
from simulations.settings import RunSettings
from tests.cloud.operator.cluster import Object, schema

SPEC = schema("federatedtasks")["properties"]["spec"]
PLACES = {
    **{key: field for key, field in FROZEN.items() if key not in ("name", "store_file")},
    **{key: key for key in ("history", "generator", "base", "cohort")},
    **{
        f"{table}.{key}": f"{table}.{camel}"
        for table, keys in {
            "cohort": (
                "devices",
                "quorum",
                "buffer",
                "outliers",
                "robust",
                "secure",
                "deadline_seconds",
                "give_up_seconds",
            ),
            "privacy": tuple(PrivacySettings.model_fields),
        }.items()
        for key in keys
        for camel in ["".join(w.title() if i else w for i, w in enumerate(key.split("_")))]
    },
}
"""The aggregator's key -> the spec's field."""


def of_model(model: type[BaseModel], path: str) -> Object:
    """Return a field's schema; of a table that may be missing, or a number, that one's."""
    whole = model.model_json_schema()
    found: Object = whole
    for name in path.split("."):
        found = {**found["properties"][name]}
        kinds = [found, *found.get("anyOf", ())]
        for each in kinds:
            target = whole["$defs"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each
            if each.get("type") != "null":
                about: Object = {
                    key: found[key] for key in ("default", "description") if key in found
                }
                found = {**found, **target, **about}
    return found


def of_crd(path: str) -> Object:
    found: Object = SPEC
    for name in path.split("."):
        found = found["properties"][name]
    return found


def ranges(model: Object, crd: Object) -> Iterator[tuple[str, Any, Any]]:
    """Yield pairs of bounds, the lower one first: the CRD's may be narrower and never wider.

    Fractions are texts in a CRD; its rules bound them, see `test_crds`.
    """
    if crd["type"] == "string":
        return
    bits = 63 if crd.get("format") == "int64" else 31
    for least, most, held in (
        ("minimum", "maximum", (-(2**bits), 2**bits - 1)),
        ("minItems", "maxItems", (0, float("inf"))),
    ):
        if least in model:
            yield least, model[least], crd.get(least, held[0])
        if most in model:
            yield most, crd.get(most, held[1]), model[most]
    if "items" in model and "items" in crd:
        yield from ranges(model["items"], crd["items"])


@pytest.mark.parametrize("key", PLACES)
def test_a_task_in_a_cluster_is_a_task(key: str) -> None:
    model, crd = of_model(TaskSettings, key), of_crd(PLACES[key])
    assert crd["description"].startswith(model["description"])
    for name, low, high in ranges(model, crd):
        assert low <= high, f"{PLACES[key]}.{name} lets pass what no aggregator takes"
    default = model.get("default")
    if default not in (None, []):
        assert "default" in crd
        assert crd["default"] == default or float(crd["default"]) == default


def test_a_simulation_and_a_contract_have_the_tasks_defaults() -> None:
    shared = ("variant", "width", "batch_size", "seed", "shuffle", "generator", "base", "history")
    for name in shared:
        wanted = TaskSettings.model_fields[name].default
        assert RunSettings.model_fields[name].default == wanted, name
        if name in Contract.model_fields:
            assert Contract.model_fields[name].default == wanted, name
