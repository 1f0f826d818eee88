"""A task's TOML table as a FederatedTask: the same words, in camel case, with percents."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from cloud.operator.spec import GROUP, VERSION
from cloud.stack.services import check_algorithm, checked_table
from edgeloop.errors import ConfigError

_PLAIN = ("width", "rounds", "batch_size", "seed", "shuffle", "history")
_COHORT = (
    "devices",
    "evicted",
    "forgotten",
    "admit",
    "max_devices",
    "buffer",
    "max_staleness",
    "max_messages_per_minute",
    "max_megabytes_per_minute",
    "outliers",
    "robust",
)
_WHOLE_SECONDS = ("grace_seconds", "deadline_seconds", "give_up_seconds")
_KNOWN = frozenset(
    {
        "name",
        "algorithm",
        "variant",
        "hyperparameters",
        "class_names",
        "shape",
        "privacy",
        "generator",
        "base",
        "cohort",
        *_PLAIN,
    }
)


def of(table: Mapping[str, Any], begin: bool) -> dict[str, Any]:
    """Return the FederatedTask of a task's table.

    Args:
        table: as an aggregator's file has it, without what is the cluster's own business.
        begin: whether it begins at once.

    Raises:
        ConfigError: if a key or a value is wrong, or a FederatedTask cannot have it.
    """
    if unknown := sorted(table.keys() - _KNOWN):
        problem = f"{unknown[0]} is none of a FederatedTask's"
        raise ConfigError("task", problem, "leave it out: the operator's settings decide it")
    check_algorithm(checked_table("aggregator", {**table, "folder": "task"}, "task"))
    algorithm = {key: table[key] for key in ("variant", "hyperparameters") if key in table}
    spec: dict[str, Any] = {
        "state": "Running" if begin else "Paused",
        "algorithm": {"name": table["algorithm"], **algorithm},
        "data": {"classNames": list(table["class_names"]), "shape": list(table["shape"])},
        "cohort": _cohort(table["cohort"]),
        **{to_camel(key): table[key] for key in _PLAIN if key in table},
        **{key: {"reference": table[key]} for key in ("generator", "base") if key in table},
    }
    if "privacy" in table:
        spec["privacy"] = {to_camel(key): str(value) for key, value in table["privacy"].items()}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "FederatedTask",
        "metadata": {"name": table["name"]},
        "spec": spec,
    }


def _cohort(cohort: Mapping[str, Any]) -> dict[str, Any]:
    shares: dict[str, Callable[[Any], int]] = {"quorum": _percent, "sample": _percent}
    unknown = sorted(cohort.keys() - {*_COHORT, *_WHOLE_SECONDS, *shares})
    if unknown:
        raise ConfigError(f"task: cohort.{unknown[0]}", "is none of a FederatedTask's", "leave it")
    found = {to_camel(key): cohort[key] for key in _COHORT if key in cohort}
    found |= {to_camel(key): round(cohort[key]) for key in _WHOLE_SECONDS if key in cohort}
    for key, convert in shares.items():
        value = cohort.get(key)
        if isinstance(value, str):
            found[f"{key}Percent"] = convert(value)
        elif value is not None:
            found[key] = value
    return found


def _percent(share: str) -> int:
    """Return a share such as "80%" as a whole number of percents."""
    return round(float(share.rstrip("% ")))
