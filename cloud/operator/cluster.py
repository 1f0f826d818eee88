"""The Kubernetes API, as far as the operator needs it; errors come as `ApiException`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError
from urllib3.exceptions import HTTPError

from cloud.operator.objects import APPLIED
from cloud.operator.spec import GROUP, VERSION
from edgeloop.errors import ConfigError, UnavailableError

Object = dict[str, Any]

MANAGER = "edgeloop-operator"
"""Whose the fields are that the operator applies."""

KINDS = {
    "ConfigMap": "v1",
    "Job": "batch/v1",
    "PersistentVolumeClaim": "v1",
    "Pod": "v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
    "Base": f"{GROUP}/{VERSION}",
    "Device": f"{GROUP}/{VERSION}",
    "FederatedTask": f"{GROUP}/{VERSION}",
    "Generator": f"{GROUP}/{VERSION}",
}
_SECONDS = 30.0  # that an answer may take


def error_message(error: ApiException) -> str:
    """Return what the cluster says of a request that it did not follow."""
    try:
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        message = error.reason
    return f"the cluster answers {error.status}: {message}"[:500]


def configure() -> None:
    """Take over the pod's service account, or else the user's kubeconfig.

    Raises:
        ConfigError: if there is neither.
    """
    try:
        config.load_incluster_config()
    except config.ConfigException:
        try:
            config.load_kube_config()
        except config.ConfigException as error:
            problem = f"there is neither a service account nor a kubeconfig ({error})"
            raise ConfigError("cluster", problem, "run it in a pod, or set KUBECONFIG") from error


class Cluster:
    """What the operator reads and writes; any thread may call any method.

    Raises:
        ConfigError: if the cluster does not know our kinds.
    """

    def __init__(self) -> None:
        try:
            found = DynamicClient(client.ApiClient()).resources
            self._resources = {
                kind: found.get(api_version=version, kind=kind) for kind, version in KINDS.items()
            }
        except ResourceNotFoundError as error:
            remedy = "kubectl apply --server-side --force-conflicts -f helm/edgeloop/crds"
            problem = (
                f"has no FederatedTasks, Generators or Devices of {GROUP}/{VERSION}, or no Bases"
            )
            raise ConfigError("cluster", problem, remedy) from error
        except (ApiException, HTTPError) as error:
            problem = (
                error_message(error) if isinstance(error, ApiException) else f"is away ({error})"
            )
            raise UnavailableError("cluster", problem, "fix the kubeconfig, or start it") from error

    def read(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object; None if there is none."""
        try:
            found = self._resources[kind].get(
                name=name, namespace=namespace, _request_timeout=_SECONDS
            )
        except NotFoundError:
            return None
        return _plain(found)

    def list_labelled(
        self, kind: str, namespace: str, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return the objects of a namespace that have these labels."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        return self.list_selected(kind, namespace, selector)

    def list_selected(self, kind: str, namespace: str, selector: str) -> list[Object]:
        """Return the objects of a namespace that a selector finds; all, if it is empty."""
        found = self._resources[kind].get(
            namespace=namespace, label_selector=selector or None, _request_timeout=_SECONDS
        )
        items: list[Object] = _plain(found)["items"]
        return items

    def apply(self, manifest: Object) -> None:
        """Make an object, or make it what the manifest says; other people's fields stay."""
        self._resources[manifest["kind"]].server_side_apply(
            body=manifest,
            namespace=manifest["metadata"]["namespace"],
            field_manager=MANAGER,
            force_conflicts=True,
            _request_timeout=_SECONDS,
        )

    def ensure(self, wanted: Iterable[Object]) -> None:
        """Make objects what their manifests say, where they are not what was applied last."""
        for manifest in wanted:
            metadata = manifest["metadata"]
            held = self.read(manifest["kind"], metadata["namespace"], metadata["name"])
            if held is None or _applied(held) != _applied(manifest):
                self.apply(manifest)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, and in the background what it owns; nothing if there is none."""
        try:
            self._resources[kind].delete(
                name=name,
                namespace=namespace,
                propagation_policy="Background",
                _request_timeout=_SECONDS,
            )
        except NotFoundError:
            return

    def write_status(self, kind: str, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Write fields of an object's status; None removes one. Nothing if it is gone."""
        try:
            self._resources[kind].status.patch(
                body={"metadata": {"name": name}, "status": dict(status)},
                name=name,
                namespace=namespace,
                content_type="application/merge-patch+json",
                _request_timeout=_SECONDS,
            )
        except NotFoundError:
            return


def _applied(held: Object) -> str | None:
    annotations = held["metadata"].get("annotations") or {}
    return annotations.get(APPLIED)


def _plain(found: Any) -> Object:
    plain: Object = found.to_dict()
    return plain
