"""What is tried: every combination of some hyperparameters' values, each once."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop import algorithms
from edgeloop.errors import ConfigError
from edgeloop.protocol.task import Scalar
from simulations.settings import RunSettings, parse_options

Options = Mapping[str, Scalar]
Space = Mapping[str, Sequence[Scalar]]
"""The values of each hyperparameter."""

OPTIONS = "options."
"""Before the name of a hyperparameter, among a sweep's keys."""


def parse(algorithm: str, words: Sequence[str]) -> dict[str, tuple[Scalar, ...]]:
    """Read "name=value,value" words; those of the algorithm's own space where there are none.

    Raises:
        ConfigError: if a word is none, a hyperparameter does not exist or comes twice, a value is
            out of range, or there is nothing to try.
    """
    found: dict[str, tuple[Scalar, ...]] = {}
    for word in words:
        name, _, rest = word.partition("=")
        name, values = name.strip(), [value.strip() for value in rest.split(",")]
        if not name or not all(values):
            problem = f"{word!r} is no key=value,value"
            raise ConfigError("try", problem, "write --try transfer=1.0,5.0")
        if name in found:
            raise ConfigError("try", f"{name} comes twice", "give its values in one --try")
        each = [parse_options([f"{name}={value}"])[name] for value in values]
        found[name] = tuple(dict.fromkeys(each))
    found = found or {name: tuple(each) for name, each in algorithms.info(algorithm).tuned.items()}
    if not found:
        problem = f"there is nothing to try of {algorithm} where nobody says"
        raise ConfigError("try", problem, "write --try name=value,value")
    return found


def candidates(algorithm: str, space: Space, fixed: Mapping[str, Any]) -> list[dict[str, Scalar]]:
    """Return every combination that differs from the others in what it does.

    Args:
        algorithm: its name.
        space: what is tried.
        fixed: further fields of the algorithm's Config.

    Raises:
        ConfigError: naming a hyperparameter that does not exist or is out of range.
    """
    found: dict[str, dict[str, Scalar]] = {}
    for values in itertools.product(*space.values()):
        options = dict(zip(space, values, strict=True))
        whole = {**fixed, **options}
        algorithms.config(algorithm, **whole)
        if algorithms.info(algorithm).generator and not algorithms.needs_generator(
            algorithm, **whole
        ):
            idle = algorithms.info(algorithm).generator_options
            options = {name: value for name, value in options.items() if name not in idle}
        found.setdefault(title(options), options)
    return list(found.values())


def title(options: Options) -> str:
    """Return what a candidate is called, also as a folder."""
    text = ",".join(f"{name}={value}" for name, value in options.items())
    return re.sub(r"[^\w.=,+-]", "_", text) or "as it is"


def check_keys(table: Mapping[str, Any]) -> None:
    """Say where a hyperparameter belongs that stands among a run's own keys.

    Raises:
        ConfigError: naming it.
    """
    name = table.get("algorithm")
    others = {key: None for key in table if key not in RunSettings.model_fields}
    found = algorithms.supported_options(name, **others) if name in algorithms.names() else {}
    for key in found:
        problem = f"is a hyperparameter of {name}, and no key of a run"
        remedy = f'write "{OPTIONS}{key}" in grid or search, and {key} in [run.options]'
        raise ConfigError(key, problem, remedy)
