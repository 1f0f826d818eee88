"""What an API server says of pods: requests over limits, quotas, and quantities in one form."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

Object = dict[str, Any]


def _specs(plural: str, found: Object) -> Iterator[tuple[str, Object]]:
    if plural == "pods":
        yield "spec", found["spec"]
    elif plural in ("deployments", "statefulsets", "jobs") and "template" in found.get("spec", {}):
        yield "spec.template.spec", found["spec"]["template"]["spec"]


def problems(plural: str, found: Object) -> list[str]:
    """Return what is wrong with the containers of an object."""
    return [
        f"{place}.containers[{number}].resources.requests: Invalid value: "
        f'"{requests[name]}": must be less than or equal to {name} limit of {limits[name]}'
        for place, spec in _specs(plural, found)
        for number, container in enumerate(spec["containers"])
        for requests, limits in [_resources(container)]
        for name in requests.keys() & limits.keys()
        if parse_quantity(requests[name]) > parse_quantity(limits[name])
    ]


def canonical(plural: str, found: Object) -> Object:
    """Return an object with its quantities as Kubernetes writes them: 1000m is 1."""
    for _, spec in _specs(plural, found):
        for container in spec["containers"]:
            for quantities in _resources(container):
                quantities |= {name: _canonical(each) for name, each in quantities.items()}
    return found


def over_quota(quota: Object, pods: Iterable[Object]) -> str | None:
    """Return what a quota says of too many pods, or of what they ask for together."""
    name = quota["metadata"]["name"]
    found = [each["spec"]["containers"] for each in pods]
    containers = [each for several in found for each in several]
    for key, hard in quota["spec"]["hard"].items():
        kind, _, what = key.partition(".")
        asked = [(each.get("resources") or {}).get(kind, {}).get(what, 0) for each in containers]
        used = Decimal(len(found)) if key == "pods" else sum(map(parse_quantity, asked))
        if used > parse_quantity(hard):
            return f"exceeded quota: {name}, requested: {key}={used}, limited: {key}={hard}"
    return None


def _resources(container: Object) -> tuple[Object, Object]:
    resources = container.get("resources") or {}
    return resources.get("requests") or {}, resources.get("limits") or {}


def _canonical(quantity: int | str) -> str:
    text = str(quantity)
    whole = text.endswith("000m") and text[:-1].isdigit()
    return str(int(text[:-1]) // 1000) if whole else text
