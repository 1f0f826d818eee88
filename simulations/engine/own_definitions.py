"""What a person brought to a run, and the digests that tell it from others of its name."""

from collections.abc import Iterator, Mapping
from typing import Any

from edgeloop.models.layered import split_name
from edgeloop.runtime import plugins
from edgeloop.runtime.plugins import Group
from simulations.engine.own_code import digest


def definitions(asked: Mapping[str, Any], models: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return digests of each thing that a person brought to a run, by its name.

    Args:
        asked: the run's settings, JSON values.
        models: each client's architecture.

    Returns:
        `code`, and `code_weights` of what has any; neither of what is not a person's own.
    """
    found = {}
    for group, name in _named(asked, models):
        made = group.by_hand(name)
        if made is not None:
            found[name] = digest(made)
    code = {name: found[name].code for name in sorted(found)}
    weights = {name: each for name in code if (each := found[name].weights) is not None}
    return {**({"code": code} if code else {}), **({"code_weights": weights} if weights else {})}


def _named(asked: Mapping[str, Any], models: Mapping[str, str]) -> Iterator[tuple[Group, str]]:
    yield plugins.ALGORITHMS, str(asked["algorithm"])
    yield from ((plugins.MODELS, split_name(each)[0]) for each in dict.fromkeys(models.values()))
    yield from ((plugins.METRICS, str(each)) for each in asked.get("metrics", ()))
    words = {
        "partition": plugins.PARTITIONS,
        "optimizer": plugins.OPTIMIZERS,
        "schedule": plugins.SCHEDULES,
        "augment": plugins.AUGMENTATIONS,
    }
    for key, group in words.items():
        if asked.get(key):
            yield group, str(asked[key]).split()[0]
