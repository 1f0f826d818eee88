"""The Kubernetes API, as far as the operator needs it; errors come as `ApiException`."""

# Over 320 lines: one room knows the Kubernetes client, each call a method.

import json
import os
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError
from urllib3.exceptions import HTTPError

from cloud.operator import drift, following
from cloud.operator.following import FOLLOWED, NO_CONTENT, SECONDS, plain
from cloud.operator.informers import Informer
from cloud.operator.objects import APPLIED
from cloud.operator.spec import GROUP, VERSION
from edgeloop.errors import ConfigError, UnavailableError

Object = dict[str, Any]

MANAGER = "edgeloop-operator"
"""Whose the fields are that the operator applies."""

KINDS = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Event": "v1",
    "Job": "batch/v1",
    "PersistentVolumeClaim": "v1",
    "Pod": "v1",
    "Secret": "v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
    "Base": f"{GROUP}/{VERSION}",
    "Device": f"{GROUP}/{VERSION}",
    "FederatedTask": f"{GROUP}/{VERSION}",
    "Generator": f"{GROUP}/{VERSION}",
}
_SYNC_SECONDS = 10.0  # that the first lists are waited for

_NO_CACHE = f"{os.devnull}/none"
"""Where no file can be: without it the client takes a cluster's kinds from one that an earlier
process left in the temporary folder, by its address alone, and any other user may have left it."""


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
        self._informers: dict[tuple[str, str], Informer] = {}
        self._settled: dict[tuple[str, str, str], tuple[str, Any]] = {}
        try:
            found = _discovered(client.ApiClient())
            self._storage_classes = found.get(api_version="storage.k8s.io/v1", kind="StorageClass")
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

    def follow(self, namespaces: Iterable[str]) -> None:
        """Keep what these namespaces hold by watches from now on, so that a look asks nobody."""
        configuration = client.Configuration.get_default_copy()
        configuration.connection_pool_maxsize = 256  # each watch keeps its connection
        followed = _discovered(client.ApiClient(configuration))
        for namespace in namespaces:
            for kind in FOLLOWED:
                resource = followed.get(api_version=KINDS[kind], kind=kind)
                informer = following.informer(resource, f"{kind}s in {namespace}", namespace, kind)
                self._informers[kind, namespace] = informer
                informer.start()
        deadline = time.monotonic() + _SYNC_SECONDS
        for informer in self._informers.values():
            informer.wait(max(0.0, deadline - time.monotonic()))

    def learn(self, kind: str, held: Object) -> None:
        """Take over an object as somebody has just seen it, unless a newer state is known."""
        informer = self._informers.get((kind, held["metadata"]["namespace"]))
        if informer is not None:
            informer.learn({"metadata": held["metadata"]} if kind == "Secret" else held)

    def read(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object as the watches tell it; None if there is none."""
        informer = self._informer(kind, namespace)
        return self.read_now(kind, namespace, name) if informer is None else informer.get(name)

    def read_now(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object as the API server has it; None if there is none."""
        found = self._ask(kind, namespace, field_selector=f"metadata.name={name}")
        return found[0] if found else None

    def list_labelled(
        self, kind: str, namespace: str, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return the objects of a namespace that have these labels, as the watches tell them."""
        informer = self._informer(kind, namespace)
        if informer is None:
            return self.list_now(kind, namespace, labels)
        wanted = (labels or {}).items()
        return [
            each
            for each in informer.found()
            if wanted <= (each["metadata"].get("labels") or {}).items()
        ]

    def list_now(
        self, kind: str, namespace: str, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return the objects of a namespace that have these labels, as the API server has them."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        return self._ask(kind, namespace, label_selector=selector or None)

    def read_followed(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object as a watch tells it; None if none tells of it."""
        informer = self._informer(kind, namespace)
        return None if informer is None else informer.get(name)

    def secret(self, namespace: str, name: str) -> Object | None:
        """Return a secret's metadata, and not what is in it; None if there is none."""
        found = self._ask(
            "Secret",
            namespace,
            field_selector=f"metadata.name={name}",
            header_params={"Accept": NO_CONTENT},
        )
        return found[0] if found else None

    def secret_data(self, namespace: str, name: str) -> Mapping[str, str]:
        """Return what is in a secret that the operator has written; nothing if it is gone."""
        try:
            found = self._resources["Secret"].get(
                name=name, namespace=namespace, _request_timeout=SECONDS
            )
        except NotFoundError:
            return {}
        return plain(found).get("data") or {}

    def has_storage_class(self, name: str) -> bool | None:
        """Return whether there is a StorageClass; None if the operator may not ask."""
        try:
            self._storage_classes.get(name=name, _request_timeout=SECONDS)
        except NotFoundError:
            return False
        except ApiException as error:
            if error.status == 403:
                return None
            raise
        return True

    def warnings(self, namespace: str, uids: Collection[str]) -> list[Object]:
        """Return what the cluster warns of in a namespace, of objects by their uids."""
        informer = self._informer("Event", namespace)
        if informer is None:
            found = self._ask("Event", namespace, field_selector="type=Warning")
        else:
            found = informer.found()
        return [each for each in found if each["involvedObject"].get("uid") in uids]

    def apply(self, manifest: Object) -> Object:
        """Make an object, or make it what the manifest says; other people's fields stay."""
        return self._applied(manifest)

    def try_out(self, manifest: Object) -> None:
        """Have the API server say whether it would make an object; nothing is made.

        Raises:
            ApiException: if it would not.
        """
        self._applied(manifest, dry_run="All")

    def try_pod(self, pod: Object) -> None:
        """Have the API server say whether it would make a pod; none is made.

        Raises:
            ApiException: if it would not.
        """
        namespace = pod["metadata"]["namespace"]
        self._resources["Pod"].create(
            body=pod, namespace=namespace, dry_run="All", _request_timeout=SECONDS
        )

    def ensure(self, wanted: Iterable[Object]) -> None:
        """Make objects what their manifests say, where they are not; what is left out is free."""
        for manifest in wanted:
            metadata = manifest["metadata"]
            held = self.read(manifest["kind"], metadata["namespace"], metadata["name"])
            if held is None or self._drifted(manifest, held):
                made = self.apply(manifest)
                # What the cluster makes of it, "1000m" as "1" say, is no drift from then on.
                self._settled[_key(manifest)] = _digest(manifest), drift.shown(manifest, made)

    def _drifted(self, manifest: Object, held: Object) -> bool:
        """Return whether an object is not what its manifest says; its digest is a part of that."""
        found = drift.shown(manifest, held)
        if found == drift.shown(manifest, manifest):
            return False
        return self._settled.get(_key(manifest)) != (_digest(manifest), found)

    def _applied(self, manifest: Object, **more: Any) -> Object:
        made = self._resources[manifest["kind"]].server_side_apply(
            body=manifest,
            namespace=manifest["metadata"]["namespace"],
            field_manager=MANAGER,
            force_conflicts=True,
            _request_timeout=SECONDS,
            **more,
        )
        found = plain(made)
        if not more:
            self.learn(manifest["kind"], found)
        return found

    def _informer(self, kind: str, namespace: str) -> Informer | None:
        """Return what follows a kind; None while it does not know all objects."""
        informer = self._informers.get((kind, namespace))
        return informer if informer is not None and informer.is_current else None

    def _ask(self, kind: str, namespace: str, **which: Any) -> list[Object]:
        found = self._resources[kind].get(namespace=namespace, **which, _request_timeout=SECONDS)
        items: list[Object] = plain(found)["items"]
        return items

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, and in the background what it owns; nothing if there is none."""
        try:
            self._resources[kind].delete(
                name=name,
                namespace=namespace,
                propagation_policy="Background",
                _request_timeout=SECONDS,
            )
        except NotFoundError:
            return

    def write_status(self, kind: str, namespace: str, name: str, status: Mapping[str, Any]) -> None:
        """Write fields of an object's status; None removes one. Nothing if it is gone."""
        try:
            told = self._resources[kind].status.patch(
                body={"metadata": {"name": name}, "status": dict(status)},
                name=name,
                namespace=namespace,
                content_type="application/merge-patch+json",
                _request_timeout=SECONDS,
            )
        except NotFoundError:
            return
        self.learn(kind, plain(told))


def _discovered(api: client.ApiClient) -> Any:
    """Return the kinds that the cluster has now."""
    return DynamicClient(api, cache_file=_NO_CACHE).resources


def _key(manifest: Object) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata["namespace"], metadata["name"]


def _digest(manifest: Object) -> str:
    return str(manifest["metadata"]["annotations"][APPLIED])
