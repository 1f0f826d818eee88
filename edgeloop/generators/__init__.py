"""Generators by reference: embedded, from the local store, from a folder, or behind Triton.

digits                     embedded in this package
NAME                       in the local store, where `edgeloop generator fetch` puts it
PATH                       a generator's folder
triton://HOST:PORT/NAME    served; see `edgeloop.generators.triton`
diffusers:FOLDER?prompt=T  a Stable Diffusion folder; see `edgeloop.generators.diffusion`
NAME:ANYTHING              of another package, which reads what is behind the colon: an entry point
                           of `edgeloop.generators`, a function from that to a `Generator`
pkg.module:NAME:ANYTHING   the same by its import path, where a person at this machine names it
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop.errors import ConfigError, GeneratorError, choose
from edgeloop.generators.manifest import MANIFEST
from edgeloop.runtime import atomic_files, plugins
from edgeloop.runtime.plugins import GENERATORS

if TYPE_CHECKING:  # an operator gives its jobs a secret of this package, and has no torch
    from edgeloop.generator import Generator

EMBEDDED = "digits"
"""The generator that needs nothing else."""

TRITON = "triton://"
DIFFUSERS = "diffusers:"
_OURS = (EMBEDDED, "triton", "diffusers", "http", "https")
"""What no other package's generator can be called."""


def store() -> Path:
    """Return the folder of the local store: $EDGELOOP_HOME/generators, or in the user's data."""
    home = os.environ.get("EDGELOOP_HOME") or atomic_files.home() / ".local" / "share" / "edgeloop"
    return Path(home) / "generators"


def load(
    reference: str,
    *,
    patience_seconds: float = 30.0,
    on_problem: Callable[[str | None], None] = lambda problem: None,
) -> "Generator":
    """Return the generator of a reference.

    Args:
        reference: as this module's docstring lists them.
        patience_seconds: how long a served one may be away before that is an error.
        on_problem: called with what is wrong with a served one while it is away, and with
            None when it is back.

    Raises:
        ConfigError: if it is another package's, and that is broken, or there are two of its name.
        GeneratorError: if there is none, it is damaged, or it cannot be reached in time.
    """
    others = _named(reference)
    if others is not None:
        return _of_others(*others)
    if reference.startswith(TRITON):
        from edgeloop.generators.triton import TritonGenerator  # needs tritonclient

        return TritonGenerator(reference, patience_seconds=patience_seconds, watch=on_problem)
    if reference.startswith(DIFFUSERS):
        from edgeloop.generators.diffusion import DiffusionGenerator  # needs diffusers

        return DiffusionGenerator(reference)
    from edgeloop.generators.onnx import OnnxGenerator  # needs onnxruntime

    return OnnxGenerator(folder_of(reference))


def admit(text: str) -> str:
    """Let in a generator that a person names by an import path, `pkg.module:NAME:ANYTHING`.

    Returns:
        the reference.
    """
    first = text.partition(":")[0]
    return text if first in (*_OURS, *GENERATORS.packaged()) else GENERATORS.admit(text)


def origin(reference: str) -> str:
    """Return where another's generator is from."""
    named = _named(reference)
    return "" if named is None else GENERATORS.origins(named[0], ())


def is_of_others(reference: str) -> bool:
    """Return whether a reference names a generator of another package."""
    return _named(reference) is not None


def _named(reference: str) -> tuple[str, str] | None:
    """Return the name that another brings a generator by, and what it is to be called with."""
    path = plugins.reference(reference)
    if path is not None and path.path in GENERATORS.names():
        return path.path, path.rest or ""
    name, colon, rest = reference.partition(":")
    return (name, rest) if colon and name in GENERATORS.names() else None


def _of_others(name: str, rest: str) -> "Generator":
    point = GENERATORS.find(name, _OURS)
    if point is None:  # it has just been uninstalled
        raise GeneratorError("generator", f"there is no {name!r} any more", "install it again")
    make = GENERATORS.load(point, object)
    with GENERATORS.asked(point):
        if not callable(make):
            raise TypeError(f"{point.value} is no function")
        made: Generator = make(rest)
        made.identity, made.latent_dim, made.shape  # noqa: B018 - it lacks none
    return made


def _stored(reference: str) -> list[Path]:
    """Return where a reference would be in the store; nowhere for a user without a home."""
    try:
        return [store() / reference]
    except ConfigError:
        return []


def folder_of(reference: str) -> Path:
    """Return the folder of a generator that is on this machine.

    Raises:
        GeneratorError: if there is none.
    """
    for place in (Path(__file__).parent / reference, *_stored(reference), Path(reference)):
        if reference and os.path.isfile(place / MANIFEST):  # Path's own raises for a long name
            return place
    problem = f"there is no generator {reference!r}"
    remedy = "see `edgeloop generator list`, or name a folder or triton://HOST:PORT/NAME"
    meant = choose(reference, _names())
    raise GeneratorError("generator", problem, meant if meant.startswith("did") else remedy)


def _names() -> list[str]:
    """Return the names of the generators that are embedded, or in the store."""
    places = [Path(__file__).parent, *(path.parent for path in _stored("x"))]
    return [found.parent.name for place in places for found in place.glob(f"[!.]*/{MANIFEST}")]
