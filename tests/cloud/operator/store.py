"""The objects of a small API server: versions, generations, finalizers, owners, patches."""

# Over 320 lines: what an API server does with an object is one thing.

import copy
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jsonpatch

from tests.cloud.operator import metadata, pods, schemas
from tests.cloud.operator.patches import merged, without

Object = dict[str, Any]
Key = tuple[str, str, str]


class ApiError(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.details = details or {}


@dataclass(frozen=True)
class Kind:
    """A kind that the server knows.

    Attributes:
        group: "" for the core one.
        version: of the group.
        plural: in paths.
        kind: in objects.
        status: whether status is a subresource.
        schema: of a custom resource.
        namespaced: whether its objects are in namespaces.
        short: names for it.
    """

    group: str
    version: str
    plural: str
    kind: str
    status: bool = True
    schema: Object | None = field(default=None, hash=False, compare=False)
    namespaced: bool = True
    short: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """As objects have it."""
        return f"{self.group}/{self.version}" if self.group else self.version


BUILT_IN = (
    Kind("", "v1", "configmaps", "ConfigMap", status=False),
    Kind("", "v1", "events", "Event", status=False),
    Kind("", "v1", "namespaces", "Namespace", namespaced=False),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Kind("", "v1", "pods", "Pod"),
    Kind("", "v1", "resourcequotas", "ResourceQuota"),
    Kind("", "v1", "secrets", "Secret", status=False),
    Kind("", "v1", "services", "Service"),
    Kind(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
    ),
    Kind("apps", "v1", "deployments", "Deployment"),
    Kind("apps", "v1", "statefulsets", "StatefulSet"),
    Kind("batch", "v1", "jobs", "Job"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", status=False),
    Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, namespaced=False),
)


@dataclass(frozen=True)
class Change:
    """What a watch tells.

    Attributes:
        version: of the store after it.
        plural: of the kind.
        type: ADDED, MODIFIED or DELETED.
        object: as it was then.
    """

    version: int
    plural: str
    type: str
    object: Object


class Store:
    """Namespaced objects by (plural, namespace, name), and every change since the last expiry."""

    def __init__(self) -> None:
        self.kinds = {kind.plural: kind for kind in BUILT_IN}
        self.objects: dict[Key, Object] = {}
        self.changes: list[Change] = []
        self.version = 1
        self.oldest = 0  # versions before it are forgotten
        self._applied: dict[tuple[Key, str], Object] = {}

    def copied(self) -> "Store":
        """Return a store with the same objects, in which a dry run leaves nothing here."""
        made = copy.copy(self)
        made.objects, made.changes = dict(self.objects), []
        made._applied = dict(self._applied)
        return made

    def define(self, crd: Object) -> None:
        """Take over a custom resource definition."""
        spec = crd["spec"]
        for version in spec["versions"]:
            kind = Kind(
                spec["group"],
                version["name"],
                spec["names"]["plural"],
                spec["names"]["kind"],
                "status" in version.get("subresources", {}),
                version["schema"]["openAPIV3Schema"],
                short=tuple(spec["names"].get("shortNames", [])),
            )
            self.kinds[kind.plural] = kind

    def get(self, key: Key) -> Object:
        """Return an object."""
        if key not in self.objects:
            raise ApiError(404, "NotFound", f'{key[0]} "{key[2]}" not found')
        return self.objects[key]

    def create(self, plural: str, namespace: str, body: Object) -> Object:
        """Store a new object."""
        new, kind = copy.deepcopy(body), self.kinds[plural]
        meta = new.setdefault("metadata", {})
        _check_place(meta, namespace)
        _name(kind, meta)
        key = (plural, namespace, meta["name"])
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", f'{plural} "{meta["name"]}" already exists')
        meta |= {"namespace": namespace, "uid": str(uuid.uuid4()), "generation": 1}
        meta["creationTimestamp"] = _now()
        if kind.status:
            new.pop("status", None)
        new |= {"apiVersion": kind.api_version, "kind": kind.kind}
        return self._keep(key, self._checked(kind, new, None), "ADDED")

    def replace(self, key: Key, body: Object, *, status: bool = False) -> Object:
        """Store an object again: all but its status, or nothing but its status."""
        old, new = self.get(key), copy.deepcopy(body)
        kind, meta = self.kinds[key[0]], new.setdefault("metadata", {})
        self._check_version(key, old, meta)
        if status:
            new = {**copy.deepcopy(old), **({"status": new["status"]} if "status" in new else {})}
        elif kind.status:
            new.pop("status", None)
            new |= {"status": copy.deepcopy(old["status"])} if "status" in old else {}
        fixed = ("name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp")
        held = {name: old["metadata"][name] for name in fixed if name in old["metadata"]}
        _check_fixed(kind, old["metadata"], meta)
        version = {"resourceVersion": old["metadata"]["resourceVersion"]}
        new |= {"apiVersion": kind.api_version, "kind": kind.kind}
        new["metadata"] = {**new["metadata"], **held, **version}
        new = self._checked(kind, new, old)
        if new == old:
            return old
        if _content(new) != _content(old):
            new["metadata"]["generation"] += 1
        return self._keep_or_drop(key, new)

    def patch(self, key: Key, body: Any, content_type: str, *, status: bool = False) -> Object:
        """Change an object by a JSON patch, a merge patch or a strategic merge patch."""
        old = copy.deepcopy(self.get(key))
        if content_type == "application/json-patch+json":
            try:
                new = jsonpatch.apply_patch(old, body)
            except jsonpatch.JsonPatchTestFailed as error:
                raise ApiError(422, "Invalid", f"the patch's test failed: {error}") from error
        elif content_type == "application/merge-patch+json":
            new = merged(old, body, keyed=False)
        elif self.kinds[key[0]].schema is not None:
            raise ApiError(415, "UnsupportedMediaType", "not of custom resources")
        else:
            new = merged(old, body, keyed=True)
        if not (isinstance(body, dict) and "resourceVersion" in body.get("metadata", {})):
            new["metadata"].pop("resourceVersion", None)
        return self.replace(key, new, status=status)

    def apply(self, key: Key, body: Object, manager: str) -> tuple[Object, bool]:
        """Apply a manifest for a manager; return the object, and whether it is new."""
        before = self._applied.get((key, manager), {})
        self._applied[key, manager] = copy.deepcopy(body)
        if key not in self.objects:
            return self.create(
                key[0], key[1], {**body, "metadata": {**body["metadata"], "name": key[2]}}
            ), True
        kept = without(copy.deepcopy(self.get(key)), before, body)
        new = merged(kept, body, keyed=True)
        new["metadata"].pop("resourceVersion", None)
        return self.replace(key, new), False

    def delete(self, key: Key) -> Object:
        """Delete an object; one with finalizers only begins to go."""
        old = copy.deepcopy(self.get(key))
        if not old["metadata"].get("finalizers"):
            return self._drop(key, old)
        if "deletionTimestamp" not in old["metadata"]:
            old["metadata"] |= {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
            old["metadata"]["generation"] += 1
            return self._keep(key, old, "MODIFIED")
        return old

    def found(self, plural: str, namespace: str | None) -> Iterator[Object]:
        """Yield the objects of a kind, in a namespace or everywhere."""
        for (of, where, _), each in sorted(self.objects.items(), key=lambda item: item[0]):
            if of == plural and namespace in (None, where):
                yield each

    def expire(self) -> None:
        """Forget all changes: a watch from before must begin again."""
        self.changes.clear()
        self.version += 1
        self.oldest = self.version

    def _check_version(self, key: Key, old: Object, meta: Object) -> None:
        wanted = meta.get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            problem = f'{key[0]} "{key[2]}": the object has been modified'
            raise ApiError(409, "Conflict", problem)

    def _checked(self, kind: Kind, new: Object, old: Object | None) -> Object:
        wrong = metadata.problems(kind.plural, new["metadata"])
        if kind.schema is None:
            _refuse(kind, new, [*wrong, *pods.problems(kind.plural, new)])
            if old is None and kind.plural == "pods":
                self._check_quota(new)
            return pods.canonical(kind.plural, new)
        whole: Object = schemas.filled(kind.schema, {**new, "metadata": {}})
        whole["metadata"] = new["metadata"]
        _refuse(kind, new, [*wrong, *schemas.problems(kind.schema, whole, old)])
        return whole

    def _check_quota(self, pod: Object) -> None:
        """Refuse a pod that a quota of its namespace has no room for."""
        namespace = pod["metadata"]["namespace"]
        for quota in self.found("resourcequotas", namespace):
            if over := pods.over_quota(quota, [*self.found("pods", namespace), pod]):
                name = pod["metadata"]["name"]
                raise ApiError(403, "Forbidden", f'pods "{name}" is forbidden: {over}')

    def _keep(self, key: Key, new: Object, change: str) -> Object:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = new
        self.changes.append(Change(self.version, key[0], change, copy.deepcopy(new)))
        return new

    def _keep_or_drop(self, key: Key, new: Object) -> Object:
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            return self._drop(key, new)
        return self._keep(key, new, "MODIFIED")

    def _drop(self, key: Key, old: Object) -> Object:
        """Delete an object for good, and what it owns."""
        self._keep(key, old, "DELETED")
        del self.objects[key]
        self._applied = {each: body for each, body in self._applied.items() if each[0] != key}
        uid = old["metadata"]["uid"]
        for owned, each in list(self.objects.items()):
            owners = each["metadata"].get("ownerReferences") or []
            if owned in self.objects and any(owner["uid"] == uid for owner in owners):
                self.delete(owned)
        return old


def _refuse(kind: Kind, new: Object, wrong: list[str]) -> None:
    """Refuse an object with something wrong, as Kubernetes does."""
    if not wrong:
        return
    name = str(new["metadata"].get("name", ""))
    causes = [
        {"field": field, "message": problem}
        for field, _, problem in (each.partition(": ") for each in wrong)
    ]
    details = {"name": name, "group": kind.group, "kind": kind.kind, "causes": causes}
    called = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    told = wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"
    raise ApiError(422, "Invalid", f'{called} "{name}" is invalid: {told}', details)


def _name(kind: Kind, meta: Object) -> None:
    """Make up what is missing of a name."""
    if meta.get("name"):
        return
    begin = meta.get("generateName")
    if not begin:
        problem = "metadata.name: Required value: name or generateName is required"
        _refuse(kind, {"metadata": {}}, [problem])
    meta["name"] = str(begin)[:58] + uuid.uuid4().hex[:5]


def _check_place(meta: Object, namespace: str) -> None:
    """Refuse an object that says it is in another namespace than it is sent to."""
    if meta.get("namespace") not in (None, "", namespace):
        problem = "the namespace of the provided object does not match the namespace sent on the"
        raise ApiError(400, "BadRequest", f"{problem} request")


def _check_fixed(kind: Kind, old: Object, meta: Object) -> None:
    """Refuse another name, place or uid than an object has, and more finalizers once it goes."""
    for part in ("name", "namespace"):
        if meta.get(part) not in (None, "", old.get(part)):
            problem = f"the {part} of the object ({meta[part]}) does not match the {part} on the"
            raise ApiError(400, "BadRequest", f"{problem} URL ({old.get(part)})")
    if meta.get("uid") not in (None, "", old["uid"]):
        problem = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta"
        raise ApiError(409, "Conflict", f"{problem}: {old['uid']}")
    added = set(meta.get("finalizers") or []) - set(old.get("finalizers") or [])
    if old.get("deletionTimestamp") and added:
        problem = "no new finalizers can be added if the object is being deleted"
        wrong = f"metadata.finalizers: Forbidden: {problem}, found {sorted(added)}"
        _refuse(kind, {"metadata": old}, [wrong])


def _content(found: Object) -> Object:
    return {key: each for key, each in found.items() if key not in ("metadata", "status")}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
