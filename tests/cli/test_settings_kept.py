"""What users write stays: the options and the keys of 0.2.0, with their defaults and ranges.

`settings-0.2.0.json` was recorded before the options were made from the models. What is newer may
be there too; nothing is lost, and no default or range is another.
"""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

RECORD = json.loads((Path(__file__).parent / "settings-0.2.0.json").read_text(encoding="utf-8"))
OPTIONS, MODELS = RECORD["options"], RECORD["models"]

COMMANDS = {
    "simulate": "simulations.commands.simulate:simulate_command",
    "simulate ktl": "simulations.ktl.command:ktl",
    "partition": "simulations.commands.partition:partition_command",
    "data show": "simulations.datasets.command:show",
    "tune": "simulations.tuning.command:command",
    "privacy": "simulations.privacy.command:command",
    "reproduce": "simulations.reproduce.command:reproduce",
    "compare": "simulations.commands.compare:command",
    "report": "simulations.report.command:command",
    "fleet": "edge.fleet.command:fleet",
    "base build": "cloud.generator_service.bases.command:build",
    "operator": "cloud.operator.command:operator",
}

CHANGED = {  # a copy had drifted, and took what could not be used; or more is taken than before
    ("edge.agent.settings:DeviceSettings", "data.alpha"),  # took inf
    ("edge.agent.settings:DeviceSettings", "data.seed"),  # took what no partition takes
    ("edge.agent.settings:DeviceSettings", "broker"),  # its default as a whole has more keys
    ("cloud.aggregator.settings:TaskSettings", "broker"),
    ("cloud.aggregator.settings:TaskSettings", "http"),
    ("cloud.aggregator.settings:TaskSettings", "cohort.devices"),  # may be none, with `admit`
    ("cloud.aggregator.settings:TaskSettings", "cohort.quorum"),  # may be a share
}


def found(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def options(function: Callable[..., None]) -> dict[str, dict[str, Any]]:
    app = typer.Typer(add_completion=False)
    app.command()(function)
    command: Any = typer.main.get_command(app)
    return dict(_option(each) for each in command.params if each.name != "help")


def _option(param: Any) -> tuple[str, dict[str, Any]]:
    words = sorted(param.opts + param.secondary_opts)
    named = param.param_type_name == "option"
    default = None if param.default is None or callable(param.default) else str(param.default)
    kind = getattr(param, "type", None)
    facts = {
        "default": default,
        "min": getattr(param, "min", getattr(kind, "min", None)),
        "max": getattr(param, "max", getattr(kind, "max", None)),
        "environment": param.envvar,
        "required": param.required or None,
        "multiple": getattr(param, "multiple", False) or None,
    }
    key = " ".join(words) if named else param.name.upper()
    return key, {name: value for name, value in facts.items() if value is not None}


def fields(schema: dict[str, Any], inside: str = "") -> dict[str, Any]:
    """Return a model's fields by path, each as its schema has it, without words for people."""
    whole = schema.get("$defs", {})
    flat: dict[str, Any] = {}

    def plain(part: Any) -> Any:
        if isinstance(part, list):
            return [plain(each) for each in part]
        if not isinstance(part, dict):
            return part
        return {
            key: plain(each) for key, each in part.items() if key not in ("title", "description")
        }

    def visit(table: dict[str, Any], path: str) -> None:
        for name, field in table.get("properties", {}).items():
            place = f"{path}.{name}".lstrip(".")
            flat[place] = {**plain(field), "required": name in table.get("required", ())}
            for each in (field, *field.get("anyOf", ())):
                if "$ref" in each:
                    visit(whole[each["$ref"].rpartition("/")[2]], place)

    visit(schema, inside)
    return flat


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_lost_or_has_another_default_or_range(name: str) -> None:
    there = options(found(COMMANDS[name]))
    assert OPTIONS[name].keys() - there.keys() == set()
    assert {key: there[key] for key in OPTIONS[name]} == OPTIONS[name]
    newer = there.keys() - OPTIONS[name].keys()
    assert not [key for key in newer if "required" in there[key]]


@pytest.mark.parametrize("path", MODELS)
def test_no_key_is_lost_or_has_another_default_or_range(path: str) -> None:
    there = fields(found(path).model_json_schema())
    assert MODELS[path].keys() - there.keys() == set()
    kept = [key for key in MODELS[path] if (path, key) not in CHANGED]
    assert {key: there[key] for key in kept} == {key: MODELS[path][key] for key in kept}
    assert not [key for key in there.keys() - MODELS[path].keys() if there[key]["required"]]
