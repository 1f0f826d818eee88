"""Label selectors as a Kubernetes API server takes them in a request: k=v, k in (a,b), k, !k."""

import re
from collections.abc import Mapping

_PART = re.compile(
    r"\s*(?P<no>!?)(?P<key>[\w./-]+)\s*"
    r"(?:(?P<equal>==?|!=)\s*(?P<value>[\w.-]*)|(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?\s*(?:,|$)"
)


def finds(selector: str, labels: Mapping[str, str]) -> bool:
    """Return whether a selector finds an object with these labels."""
    place = 0
    while place < len(selector):
        part = _PART.match(selector, place)
        if part is None:
            raise ValueError(selector)
        if not _holds(part, labels):
            return False
        place = part.end()
    return True


def _holds(part: re.Match[str], labels: Mapping[str, str]) -> bool:
    found = labels.get(part["key"])
    if part["set"] is not None:
        values = [each.strip() for each in part["values"].split(",")]
        return (found in values) == (part["set"] == "in")
    if part["equal"] is not None:
        return (found == part["value"]) == (part["equal"] != "!=")
    return (found is None) == bool(part["no"])
