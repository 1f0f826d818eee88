"""How objects of a small API server are merged, and found by their labels."""

import copy
from typing import Any

Object = dict[str, Any]

_MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ownerReferences": "uid",
    "volumeMounts": "mountPath",
    "volumes": "name",
}


def merged(old: Any, new: Any, *, keyed: bool, name: str = "") -> Any:
    """Return old with new merged into it; of a keyed list the items with the same key."""
    key = _MERGE_KEYS.get(name) if keyed else None
    if key is not None and isinstance(new, list) and isinstance(old, list):
        known = {each[key]: each for each in old}
        fresh = {each[key]: merged(known.get(each[key], {}), each, keyed=True) for each in new}
        return list({**known, **fresh}.values())
    if not isinstance(new, dict):
        return copy.deepcopy(new)
    result = dict(old) if isinstance(old, dict) else {}
    for each, value in new.items():
        if value is None:
            result.pop(each, None)
        else:
            result[each] = merged(result.get(each), value, keyed=keyed, name=each)
    return result


def without(held: Any, before: Any, now: Any, name: str = "") -> Any:
    """Return an object without what a manager applied before and applies no more."""
    key = _MERGE_KEYS.get(name)
    if key is not None and isinstance(held, list) and isinstance(before, list):
        gone = {each[key] for each in before} - {each[key] for each in now or []}
        return [each for each in held if each[key] not in gone]
    if not isinstance(held, dict) or not isinstance(before, dict):
        return held
    now = now if isinstance(now, dict) else {}
    return {
        each: without(value, before.get(each), now.get(each), each)
        for each, value in held.items()
        if not (each in before and each not in now)
    }
