"""What pydantic finds is said in words of our own: no regular expression reaches a person."""

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import cloud
import edge
import edgeloop
import simulations
from edgeloop.runtime import wording

ELSEWHERE = ("stylegan", "triton_model", "migrations")  # modules that only other processes import


def models() -> Iterator[type[BaseModel]]:
    for package in (edgeloop, cloud, edge, simulations):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(word in module.name for word in ELSEWHERE):
                importlib.import_module(module.name)
    waiting = [BaseModel]
    while waiting:
        kinds = waiting.pop().__subclasses__()
        waiting += kinds
        yield from (each for each in kinds if each.__module__.split(".")[0] in OURS)


OURS = {package.__name__ for package in (edgeloop, cloud, edge, simulations)}


def patterns(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for each in schema:
            yield from patterns(each)


def test_every_form_that_a_setting_has_is_told_in_words() -> None:
    found = {
        pattern
        for kind in models()
        if kind.model_fields
        for pattern in patterns(kind.model_json_schema())
    }
    assert len(found) >= 4
    assert found - wording.FORMS.keys() == set()


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, "many", ("'many' is no whole number", "give a whole number")),
        (float, [], ("[] is no number", "give a number")),
        (bool, "perhaps", ("'perhaps' is neither true nor false", "give true or false")),
        (list[int], 3, ("3 is no list", "give a list")),
    ],
)
def test_what_a_value_should_be(kind: type, value: object, said: tuple[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert wording.explain(dict(caught.value.errors()[0])) == said
