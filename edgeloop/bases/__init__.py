"""Bases by reference: embedded, from the local store, from a folder, or computed on the spot.

auto              computed from a generator's images for the clients' inputs, and kept in the store
NAME              in the local store, where `edgeloop base build` and `import` put it
PATH              a base's folder
http://...        on a server of bases, fetched into the store: see `reference`
"""

import hashlib
import os
from pathlib import Path

from edgeloop.bases.manifest import MANIFEST
from edgeloop.bases.reference import is_one
from edgeloop.errors import BaseError, ConfigError, choose
from edgeloop.runtime import atomic_files

AUTO = "auto"
"""The base that is computed where nobody names one."""


def store() -> Path:
    """Return the folder of the local store: $EDGELOOP_HOME/bases, or in the user's data."""
    home = os.environ.get("EDGELOOP_HOME") or atomic_files.home() / ".local" / "share" / "edgeloop"
    return Path(home) / "bases"


def folder_of(reference: str) -> Path:
    """Return the folder of a base.

    One on a server is fetched into the store, once.

    Raises:
        BaseError: if there is none.
        ConfigError: if it is no reference.
    """
    if is_one(reference):
        from edgeloop.bases import remote  # only who asks a server needs HTTP

        return remote.stored(reference, store())
    for place in (*_stored(reference), Path(reference)):
        if reference and os.path.isfile(place / MANIFEST):  # Path's own raises for a long name
            return place
    remedy = "see `edgeloop base list`, or build one with `edgeloop base build`"
    places = [path.parent for path in _stored("x")]
    known = [found.parent.name for place in places for found in place.glob(f"[!.]*/{MANIFEST}")]
    meant = choose(reference, known)
    problem = f"there is no base {reference!r}"
    raise BaseError("base", problem, meant if meant.startswith("did") else remedy)


def _stored(reference: str) -> list[Path]:
    """Return where a reference would be in the store; nowhere for a user without a home."""
    try:
        return [store() / reference]
    except ConfigError:
        return []


def cache_name(generator: str, recipe: str, shape: tuple[int, ...]) -> str:
    """Return the store's name of a base that is computed on the spot: the same for equal ones.

    Args:
        generator: the generator's identity.
        recipe: as JSON.
        shape: of one input.
    """
    facts = f"{generator}/{recipe}/{shape}"
    return f"auto-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
