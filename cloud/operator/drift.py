"""Whether an object is still what its manifest says: its fields are compared, not a digest."""

from collections.abc import Mapping, Sequence
from typing import Any

_KEYS = ("name", "mountPath", "uid", "containerPort", "port", "key")
"""By which the items of a list are found, where all of them have it."""

_OUTSIDE = ("apiVersion", "kind")
"""What the items of a list do not tell of themselves."""

_FIXED = {"PersistentVolumeClaim": ("spec",)}
"""Of a kind: what is settled as it is made; a volume that was made larger by hand stays so."""


def shown(manifest: Mapping[str, Any], held: Mapping[str, Any]) -> Any:
    """Return what an object has where its manifest says something; nothing of what it does not."""
    left_out = (*_OUTSIDE, *_FIXED.get(str(manifest.get("kind")), ()))
    asked = {key: each for key, each in manifest.items() if key not in left_out}
    return _shown(asked, held)


def _shown(asked: Any, held: Any) -> Any:
    if isinstance(asked, Mapping):
        found = held if isinstance(held, Mapping) else {}
        parts = {key: _shown(each, found.get(key)) for key, each in asked.items()}
        return {key: each for key, each in parts.items() if not _empty(each)}
    if isinstance(asked, Sequence) and not isinstance(asked, str):
        return _items(asked, held if isinstance(held, Sequence) else ())
    return held


def _items(asked: Sequence[Any], held: Sequence[Any]) -> Any:
    """Return the items of a list that are asked for; a list without keys is compared whole."""
    key = _key(asked)
    if key is None:
        whole = len(asked) == len(held)
        return [_shown(*each) for each in zip(asked, held, strict=True)] if whole else list(held)
    known = {each.get(key): each for each in held if isinstance(each, Mapping)}
    return [_shown(each, known.get(each[key])) for each in asked]


def _key(asked: Sequence[Any]) -> str | None:
    if not asked or not all(isinstance(each, Mapping) for each in asked):
        return None
    return next(
        (key for key in _KEYS if len({each.get(key) for each in asked} - {None}) == len(asked)),
        None,
    )


def _empty(value: Any) -> bool:
    """Return whether Kubernetes leaves a value out: it writes no empty list and no empty map."""
    return value is None or value in ({}, [], ())
