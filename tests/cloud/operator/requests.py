"""A Kubernetes API server's requests and answers: what is asked of what, and who may."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.cloud.operator.selectors import finds
from tests.cloud.operator.store import ApiError, Kind, Object


@dataclass(frozen=True)
class Asked:
    """A request, as an authoriser sees it.

    Attributes:
        verb: get, list, watch, create, update, patch, delete.
        group: of the resource.
        resource: its plural, with its subresource if there is one.
        namespace: that it is in.
        name: of the object; None of all.
    """

    verb: str
    group: str
    resource: str
    namespace: str | None
    name: str | None


def address(parts: list[str]) -> tuple[str, str, list[str]]:
    """Return a path's group, version and what follows."""
    if parts[:1] == ["api"]:
        return "", parts[1] if len(parts) > 1 else "", parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 2:
        return parts[1], parts[2], parts[3:]
    return "", "", []


def verb(request: web.Request, name: str | None) -> str:
    if request.method == "GET" and name is None:
        return "watch" if true(request, "watch") else "list"
    verbs = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    return verbs[request.method]


def allows(rule: Mapping[str, Any], asked: Asked) -> bool:
    return (
        asked.group in rule["apiGroups"]
        and asked.resource in rule["resources"]
        and asked.verb in rule["verbs"]
        and asked.name in rule.get("resourceNames", [asked.name])
    )


def wanted(request: web.Request) -> Callable[[Object], bool]:
    """Return what tells whether a request's selectors are of an object."""
    selector = request.query.get("labelSelector") or ""
    text = request.query.get("fieldSelector") or ""
    fields = [each.partition("=")[::2] for each in text.split(",") if each]

    def selected(found: Object) -> bool:
        labels = found["metadata"].get("labels") or {}
        return finds(selector, labels) and all(_field(found, at) == is_ for at, is_ in fields)

    return selected


def _field(found: Object, path: str) -> object:
    if path not in ("metadata.name", "type"):
        raise ApiError(400, "BadRequest", f"field label not supported: {path}")
    for part in path.split("."):
        found = found.get(part, {})
    return found


def metadata_only(request: web.Request) -> bool:
    """Return whether a request wants objects without what is in them."""
    return "as=PartialObjectMetadata" in request.headers.get("Accept", "")


def reads_secrets(asked: Asked) -> bool:
    """Return whether a request is for all secrets, or for one that no operator has written."""
    if asked.resource != "secrets":
        return False
    ours = str(asked.name).endswith(("-aggregator-tls", "-enrolment"))
    return asked.verb in ("list", "watch") or (asked.verb == "get" and not ours)


def forbidden(asked: Asked) -> ApiError:
    """Return the answer to one who may not do what he asks, as Kubernetes writes it."""
    what, _, sub = asked.resource.partition("/")
    whole = f"{what}.{asked.group}" if asked.group else what
    name = f' "{asked.name}"' if asked.name else ""
    where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
    resource = f"{what}/{sub}" if sub else what
    problem = f'User "operator" cannot {asked.verb} resource "{resource}" in API group'
    told = f'{whole}{name} is forbidden: {problem} "{asked.group}"{where}'
    return ApiError(403, "Forbidden", told)


def true(request: web.Request, name: str) -> bool:
    """Return whether a parameter of a request says yes."""
    return request.query.get(name) in ("true", "True", "1")


def group(found: tuple[str, str]) -> Object:
    version = {"groupVersion": "/".join(found), "version": found[1]}
    return {"name": found[0], "versions": [version], "preferredVersion": version}


def resources(kind: Kind) -> list[Object]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    whole = {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind}
    parts = [{**whole, "namespaced": kind.namespaced, "verbs": verbs}]
    if kind.status:
        parts.append(
            {**parts[0], "name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]}
        )
    parts[0] = {**parts[0], "shortNames": list(kind.short)}
    return parts


def status(error: ApiError) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": error.reason,
        "message": error.message,
        **({"details": error.details} if error.details else {}),
        "code": error.code,
    }


def bookmark(kind: Kind, version: int) -> bytes:
    """Return the line of a watch that ends what was there when it began."""
    end = {"k8s.io/initial-events-end": "true"}
    meta = {"resourceVersion": str(version), "annotations": end}
    return line("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta})


def line(change: str, found: Object, *, bare: bool = False) -> bytes:
    """Return what a watch tells of a change; on request only of an object's metadata."""
    shown = {"metadata": found["metadata"]} if bare else found
    return json.dumps({"type": change, "object": shown}).encode() + b"\n"
