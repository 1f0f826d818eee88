"""A page for each configuration file, from the models that read them."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cloud.aggregator.settings import TaskSettings
from cloud.authority.settings import AuthoritySettings
from cloud.console.settings import ServerSettings
from cloud.operator.settings import OperatorSettings
from cloud.stack.settings import GeneratorSettings, ServedAuthority, StackBroker, StackSettings
from edge.agent.settings import DeviceSettings
from edgeloop.runtime import config
from simulations.reproduce.scenario import Scenario
from simulations.settings import RunSettings
from tools.docs.markdown import code, page, plain, table

COLUMNS = ("key", "type", "default", "meaning")
FILES: Mapping[str, tuple[str, str, type[BaseModel]]] = {
    "task": ("Task", "`edgeloop aggregator --config task.toml`", TaskSettings),
    "device": ("Device", "`edgeloop agent --config device.toml`", DeviceSettings),
    "stack": ("Stack", "`edgeloop up --config stack.toml`", StackSettings),
    "server": ("Server", "`edgeloop server --config server.toml`", ServerSettings),
    "authority": ("Authority", "`edgeloop ca`, from `authority.toml`", AuthoritySettings),
    "operator": ("Operator", "`edgeloop operator`, as options", OperatorSettings),
    "run": ("Simulated run", "`edgeloop simulate`, as options, and tables", RunSettings),
    "scenario": ("Table of a paper", "`edgeloop reproduce FILE`", Scenario),
}
"""What is configured, by its page's name: the title, what reads it, and the model that it reads."""

TABLES: Mapping[type[BaseModel], Mapping[str, type[BaseModel]]] = {
    StackSettings: {
        "broker": StackBroker,
        "authority": ServedAuthority,
        "generator": GeneratorSettings,
    },
}
"""Tables that a model reads later, by another model, and so declares as any table."""


def pages() -> dict[str, str]:
    """Return the pages of all configuration files by their paths, and the list of them."""
    made = {
        f"reference/settings/{name}.md": page(title, f"Read by {reader}.", *_sections(model, ""))
        for name, (title, reader, model) in FILES.items()
    }
    rows = [
        (f"[{title}]({name}.md)", reader, plain(about(model)))
        for name, (title, reader, model) in FILES.items()
    ]
    text = (
        "Each key with its type, its default and its meaning. Commented examples of whole files are"
        " in [Configuration](../../configuration.md)."
    )
    index = page("Settings", text, table(("what", "read by", "it says"), rows))
    return {"reference/settings/index.md": index, **made}


def about(model: type[BaseModel]) -> str:
    """Return the first sentence of what a model says of itself."""
    return (model.__doc__ or "").split("\n\n")[0]


def _sections(model: type[BaseModel], path: str) -> Iterator[str]:
    """Yield the keys of a model, and then a section for each table within it.

    Args:
        model: that reads the table.
        path: of the table, such as "[cohort]"; empty for the file itself.
    """
    inner = tables_of(model)
    own = {key: field for key, field in model.model_fields.items() if key not in inner}
    title = f"## {path}\n\n" if path else ""
    rows = [_row(model, key, field) for key, field in own.items()]
    yield f"{title}{plain(about(model))}\n\n{table(COLUMNS, rows)}"
    for key, (further, *_) in inner.items():
        name = f"{path.strip('[]')}.{key}".removeprefix(".")
        listed = get_origin(model.model_fields[key].annotation) is tuple
        yield from _sections(further, f"[[{name}]]" if listed else f"[{name}]")


def tables_of(model: type[BaseModel]) -> dict[str, list[type[BaseModel]]]:
    """Return the models of a model's fields that are tables of the file, by the fields' names."""
    found: dict[str, list[type[BaseModel]]] = {}
    for key, field in model.model_fields.items():
        kinds = [each for each in config.parts(field.annotation) if isinstance(each, type)]
        models = [each for each in kinds if issubclass(each, BaseModel)]
        if models:
            found[key] = models
    return {**found, **{key: [kind] for key, kind in TABLES.get(model, {}).items()}}


def _row(model: type[BaseModel], key: str, field: FieldInfo) -> tuple[str, str, str, str]:
    return code(key), kind_of(model, key), default_of(field), plain(meaning_of(model, key))


def meaning_of(model: type[BaseModel], key: str) -> str:
    """Return what a field is: below the field itself, or in a class's `Attributes`."""
    said = model.model_fields[key].description
    if said:
        return said
    for kind in model.__mro__:
        found = re.findall(
            rf"^ {{8}}{key}: (.+?)(?=^ {{8}}\w+: |^ {{4}}\S|\Z)",
            (kind.__doc__ or "").partition("Attributes:\n")[2],
            re.MULTILINE | re.DOTALL,
        )
        if found:
            text = " ".join(found[0].split())
            return text[0].upper() + text[1:]
    return ""


def default_of(field: FieldInfo) -> str:
    """Return a field's default as it is written in TOML; empty where nothing is said."""
    if field.is_required():
        return "required"
    if field.default is None or field.default is PydanticUndefined or field.default == ():
        return ""
    value = field.default
    if isinstance(value, bool | int | float | str | tuple | list):
        return code(json.dumps(value, default=str))
    return code(json.dumps(str(value)))


def kind_of(model: type[BaseModel], key: str) -> str:
    """Return what a field's value may be, in words, from the model's JSON schema."""
    schema = _schema(model)
    return words_of(schema["properties"][key], schema.get("$defs", {}))


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def words_of(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """Return a JSON schema in words.

    Args:
        schema: of one value.
        shared: what it may refer to, by name.
    """
    if "$ref" in schema:
        return words_of(shared[schema["$ref"].rpartition("/")[2]], shared)
    if either := schema.get("anyOf") or schema.get("oneOf"):
        kinds = [words_of(each, shared) for each in either if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(code(json.dumps(each)) for each in values)
    if schema.get("type") == "array":
        return f"list of {_item(schema, shared)}"
    name = "path" if schema.get("format") == "path" else _NAMES.get(schema.get("type", ""), "any")
    return ", ".join([name, *_bounds(schema)])


_ENDLESS = 2**32
"""A bound that nobody meets by hand is not shown."""

_NAMES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
}


def _item(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
    return words_of(items, shared) if items else "values"


def _bounds(schema: Mapping[str, Any]) -> list[str]:
    forms = {
        "minimum": "at least {}",
        "exclusiveMinimum": "more than {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "less than {}",
        "minLength": "at least {} letters",
        "maxLength": "at most {} letters",
    }
    known = {key: schema[key] for key in forms if abs(schema.get(key, _ENDLESS)) < _ENDLESS}
    said = [forms[key].format(_number(value)) for key, value in known.items()]
    return ["not empty" if each == "at least 1 letters" else each for each in said]


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
