"""Measures the models: what each architecture makes of an input and costs. Needs torch."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from edgeloop import models
from edgeloop.errors import EdgeloopError, ModelError
from edgeloop.runtime.plugins import MODELS
from simulations.engine.flops import forward_flops

WIDTH = 512
"""K, which the networks for texts are measured with."""


def measured(shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Return what the architectures cost, and the groups: what `edgeloop models --json` prints.

    Args:
        shape: of one input: what fits it, measured with it; None for all, each with its own.

    Raises:
        ModelError: if nothing fits the shape.
    """
    ours = [describe(*each) for each in _asked(shape)]
    theirs = brought(shape)
    if not [*ours, *theirs]:
        asked = ",".join(map(str, shape or ()))
        raise ModelError("shape", f"no architecture fits {asked}", "give 3,32,32 or 9,1,128")
    return {"architectures": [*ours, *theirs], "groups": groups()}


def unlisted(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what architectures cost, each with its own shape of inputs."""
    return [describe(name, models.usual_shape(name)) for name in names]


def brought(shape: tuple[int, ...] | None = None) -> list[dict[str, Any]]:
    """Return what other packages' architectures cost; of one that is broken, its `problem`."""
    found = []
    for name in MODELS.names():
        origin = MODELS.origins(name, models.built_in())
        try:
            found.append(describe(name, shape or models.usual_shape(name)) | {"from": origin})
        except ModelError:
            continue  # it does not fit the shape
        except EdgeloopError as error:
            found.append({"name": name, "from": origin, "problem": str(error)})
    return found


def describe(architecture: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what an architecture's base makes of one input, and costs; JSON values only.

    The keys: `name`; `shape`, of one input; `features`, D; `parameters`; `flops`, the
    floating-point operations of a forward pass, a multiplication and an addition being two. Where
    a package is not installed, `needs` says which one, and the numbers are None.

    Raises:
        ModelError: an unknown architecture, or one that does not fit.
    """
    facts = {"name": architecture, "shape": list(shape), "needs": None}
    if (needs := models.missing(architecture)) is not None:
        return {**facts, "needs": needs, "features": None, "parameters": None, "flops": None}
    features = models.feature_width(architecture, shape, WIDTH)
    parameters, flops = _counted(architecture, shape)
    return {**facts, "features": features, "parameters": parameters, "flops": flops}


def groups() -> list[dict[str, Any]]:
    """Return every group: its `name`, its `aliases`, and its `architectures` in order."""
    return [
        {
            "name": name,
            "aliases": [alias for alias, meant in models.ALIASES.items() if meant == name],
            "architectures": list(entries),
        }
        for name, entries in models.GROUPS.items()
    ]


@cache
def _counted(architecture: str, shape: tuple[int, ...]) -> tuple[int, int]:
    base = models.base_without_data(architecture, shape, WIDTH)
    return sum(each.numel() for each in base.parameters()), forward_flops(base, shape)


def _asked(shape: tuple[int, ...] | None) -> Sequence[tuple[str, tuple[int, ...]]]:
    if shape is None:
        return [(name, models.usual_shape(name)) for name in models.built_in()]
    fitting = models.fitting(shape, WIDTH)
    return [(name, shape) for name in fitting if name in models.built_in()]
