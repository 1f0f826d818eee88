"""What an API server does to a custom resource: defaults, pruning, validation, rules in CEL."""

import copy
from collections.abc import Iterator
from typing import Any

import cel
import jsonschema

Object = dict[str, Any]


def filled(schema: Object, value: Any) -> Any:
    """Return a value with its schema's defaults, and without what the schema does not know."""
    if isinstance(value, list):
        return [filled(schema.get("items", {}), each) for each in value]
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    properties = schema.get("properties", {})
    defaults = {
        key: copy.deepcopy(each["default"])
        for key, each in properties.items()
        if "default" in each and key not in value
    }
    rest = schema.get("additionalProperties")
    return {
        key: filled(properties.get(key, rest if isinstance(rest, dict) else {}), each)
        for key, each in {**value, **defaults}.items()
        if key in properties or rest is not None
    }


def problems(schema: Object, new: Object, old: Object | None) -> list[str]:
    """Return what is wrong with an object, each as the API server writes it."""
    validator = jsonschema.Draft7Validator(_plain(schema))
    wrong = [
        f"{_place(error.absolute_path)}: Invalid value: {error.message}"
        for error in validator.iter_errors(new)
    ]
    return wrong or [f"{path}: Invalid value: {said}" for path, said in _broken(schema, new, old)]


def _plain(schema: Object) -> Object:
    """Return a schema with what JSON schema says otherwise: lists that are sets."""
    if schema.get("x-kubernetes-list-type") == "set":
        schema = {**schema, "uniqueItems": True}
    return {
        key: {name: _plain(each) for name, each in value.items()}
        if key == "properties"
        else _plain(value)
        if isinstance(value, dict) and key in ("items", "additionalProperties")
        else value
        for key, value in schema.items()
    }


def _place(path: Any) -> str:
    return ".".join(str(part) for part in path) or "<root>"


def _broken(
    schema: Object, new: Any, old: Any, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Yield where a rule does not hold, and its message."""
    for rule in schema.get("x-kubernetes-validations", []):
        transition = "oldSelf" in rule["rule"]
        if transition and old is None:
            continue
        if not cel.evaluate(rule["rule"], {"self": new, "oldSelf": old}):
            yield _place(path), rule["message"]
    for place, each in enumerate(new if isinstance(new, list) else []):
        yield from _broken(schema.get("items", {}), each, None, (*path, str(place)))
    for key, each in schema.get("properties", {}).items():
        if isinstance(new, dict) and key in new:
            before = old.get(key) if isinstance(old, dict) else None
            yield from _broken(each, new[key], before, (*path, key))
