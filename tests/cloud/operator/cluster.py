"""A test's hold on a cluster, be it the small server or a real kube-apiserver."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

CHART = Path(__file__).parents[3] / "helm" / "edgeloop"
NAMESPACE = "plant"
OPERATOR = "operator"
"""The operator's token."""

Object = dict[str, Any]

KINDS = ("federatedtasks", "generators", "bases", "devices")
"""Our own, by their plurals."""

GROUPS = {
    "configmaps": "api/v1",
    "deployments": "apis/apps/v1",
    "events": "api/v1",
    "persistentvolumeclaims": "api/v1",
    "pods": "api/v1",
    "resourcequotas": "api/v1",
    "secrets": "api/v1",
    "services": "api/v1",
    "statefulsets": "apis/apps/v1",
    "jobs": "apis/batch/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "bases": "apis/edgeloop.io/v1alpha1",
    "devices": "apis/edgeloop.io/v1alpha1",
    "federatedtasks": "apis/edgeloop.io/v1alpha1",
    "generators": "apis/edgeloop.io/v1alpha1",
}


def crd(plural: str) -> Object:
    """Return one of our CRDs."""
    found: Object = yaml.safe_load((CHART / "crds" / f"{plural}.yaml").read_text())
    return found


def rules(name: str = "operator-rules") -> list[Object]:
    """Return the rules of the operator's role, as the chart's template has them."""
    found: list[Object] = yaml.safe_load((CHART / "files" / f"{name}.yaml").read_text())
    return found


def schema(plural: str) -> Object:
    """Return the schema of one of our CRDs."""
    found: Object = crd(plural)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


@dataclass(frozen=True)
class Cluster:
    """What an administrator does to a cluster.

    Attributes:
        url: of its API server.
        http: a client with an administrator's rights.
        collects: whether somebody deletes what a deleted object owns.
    """

    url: str
    http: httpx.Client
    collects: bool

    def path(self, plural: str, name: str = "") -> str:
        """Return where a kind's objects are, or one of them."""
        return f"/{GROUPS[plural]}/namespaces/{NAMESPACE}/{plural}" + (f"/{name}" if name else "")

    def create(self, plural: str, body: Object) -> Object:
        """Create an object."""
        return _good(self.http.post(self.path(plural), json=body))

    def get(self, plural: str, name: str) -> Object | None:
        """Return an object; None if there is none."""
        answer = self.http.get(self.path(plural, name))
        return None if answer.status_code == 404 else _good(answer)

    def listed(self, plural: str) -> list[Object]:
        """Return all objects of a kind."""
        found: list[Object] = _good(self.http.get(self.path(plural)))["items"]
        return found

    def patch(self, plural: str, name: str, body: Object, *, sub: str = "") -> Object:
        """Change an object by a merge patch."""
        headers = {"Content-Type": "application/merge-patch+json"}
        path = self.path(plural, name) + sub
        return _good(self.http.patch(path, json=body, headers=headers))

    def tell(self, plural: str, name: str, status: Object) -> None:
        """Write an object's status."""
        self.patch(plural, name, {"status": status}, sub="/status")

    def delete(self, plural: str, name: str) -> None:
        """Delete an object."""
        _good(self.http.delete(self.path(plural, name)))

    def status(self, name: str, plural: str = "federatedtasks") -> Object:
        """Return a task's status; empty before it has one."""
        found = self.get(plural, name)
        assert found is not None, name
        status: Object = found.get("status", {})
        return status


def _good(answer: httpx.Response) -> Object:
    answer.raise_for_status()
    found: Object = answer.json()
    return found


def wait(what: str, until: Callable[[], object], seconds: float = 120.0) -> Any:
    """Return what a question is answered with, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while not (answer := until()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)
    return answer


def task(name: str = "shop-floor", **changes: Any) -> Object:
    """Return a small FederatedTask, with some fields of its spec as a test wants them."""
    spec: Object = {
        "algorithm": {"name": "fedproto"},
        "data": {"classNames": ["ok", "dent"], "shape": [1, 28, 28]},
        "cohort": {"devices": ["press-1", "press-2"], "quorum": 1},
        "rounds": 3,
    }
    return {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": "FederatedTask",
        "metadata": {"name": name},
        "spec": {**spec, **changes},
    }


def condition(status: Mapping[str, Any], kind: str) -> Object:
    """Return one of a status' conditions."""
    found: Iterator[Object] = (each for each in status["conditions"] if each["type"] == kind)
    return next(found)


def secret(name: str, purpose: str | None = None, **annotations: str) -> Object:
    """Return a secret that tasks may name, if it says what for."""
    labels = {} if purpose is None else {"edgeloop.io/secret-for": purpose}
    meta = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"url": "x"}}


def device(name: str, spec: Object | None = None, **labels: str) -> Object:
    """Return a Device with labels."""
    return {
        "apiVersion": "edgeloop.io/v1alpha1",
        "kind": "Device",
        "metadata": {"name": name, "labels": labels},
        **({} if spec is None else {"spec": spec}),
    }
