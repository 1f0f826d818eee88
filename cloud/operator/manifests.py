"""What the operator makes for a FederatedTask: plain functions from what is asked to manifests.

ConfigMap               the aggregator's file
PersistentVolumeClaim   its ledger, its history and its results
Service                 its metrics, health and status; headless, and there before it is ready
Deployment              processes that take uploads beside it, where the task asks for some
StatefulSet             the one aggregator, or none: a ledger has one writer, and a StatefulSet
                        never runs two pods of a name at once
"""

from dataclasses import dataclass
from typing import Any

import tomli_w

from cloud.operator import config, objects
from cloud.operator.objects import Manifest, mount, secret
from cloud.operator.settings import METRICS_PORT, OperatorSettings
from cloud.operator.spec import GROUP, Meta, Store, Task

CONFIG_KEY = "task.toml"
INGEST = "ingest"
COMMAND = ("edgeloop", "aggregator", "--config", f"/etc/edgeloop/task/{CONFIG_KEY}")


@dataclass(frozen=True)
class ResolvedTask:
    """What was chosen for a task beside its own words.

    Attributes:
        generator: the reference that it asks; None if it names none.
        store: the secret with its ledger's URL; None for SQLite on its volume.
        replicas: 1, or 0 while it is paused or over.
        base: the reference that it asks; None if it names none.
    """

    generator: str | None
    store: Store | None
    replicas: int
    base: str | None = None

    def table(self, task: Task, settings: OperatorSettings) -> dict[str, Any]:
        """Return the aggregator's configuration."""
        return config.table(task, settings, self.generator, self.store, self.base)


def name_of(task: Meta) -> str:
    """Return the name of everything that belongs to a task."""
    return f"{task.name}-aggregator"


def labels(task: Meta) -> dict[str, str]:
    """Return the labels by which a task's pod is found."""
    return {
        "app.kubernetes.io/name": "edgeloop",
        "app.kubernetes.io/component": "aggregator",
        "app.kubernetes.io/instance": task.name,
        "app.kubernetes.io/managed-by": "edgeloop-operator",
    }


def ingest_name(task: Meta) -> str:
    """Return the name of the processes that take uploads beside an aggregator."""
    return f"{task.name}-{INGEST}"


def ingest_labels(task: Meta) -> dict[str, str]:
    """Return the labels by which the pods of these processes are found."""
    return {**labels(task), "app.kubernetes.io/component": INGEST}


def build_manifests(task: Task, settings: OperatorSettings, choice: ResolvedTask) -> list[Manifest]:
    """Return what a task needs, in the order in which to apply it."""
    text = tomli_w.dumps(choice.table(task, settings))
    made = [
        config_map(task, text),
        _claim(task),
        _service(task),
        _stateful_set(task, settings, choice, text),
        *([] if task.spec.ingest is None else [_ingest(task, settings, choice, text)]),
    ]
    return [objects.with_digest(each) for each in made]


def metadata(task: Task, *, owned: bool = True) -> Manifest:
    """Return the metadata of an object that belongs to a task."""
    references = [objects.owner("FederatedTask", task.metadata)] if owned else []
    return {
        "name": name_of(task.metadata),
        "namespace": task.metadata.namespace,
        "labels": labels(task.metadata),
        **({"ownerReferences": references} if references else {}),
    }


def config_map(task: Task, text: str) -> Manifest:
    """Return the object with the aggregator's file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(task),
        "data": {CONFIG_KEY: text},
    }


def _claim(task: Task) -> Manifest:
    storage = task.spec.storage
    about = metadata(task, owned=not storage.retain)
    return objects.volume_claim(about, storage.size, storage.class_name)


def _service(task: Task) -> Manifest:
    port = {"name": "metrics", "port": METRICS_PORT, "targetPort": "metrics", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(task),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # the status is wanted most when something is wrong
            "selector": labels(task.metadata),
            "ports": [port],
        },
    }


def _stateful_set(
    task: Task, settings: OperatorSettings, choice: ResolvedTask, text: str
) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(task),
        "spec": {
            "replicas": choice.replicas,
            "serviceName": name_of(task.metadata),
            "selector": {"matchLabels": labels(task.metadata)},
            "template": {
                "metadata": {
                    "labels": labels(task.metadata),
                    "annotations": {f"{GROUP}/config": objects.digest(text)},
                },
                "spec": _pod(task, settings, choice),
            },
        },
    }


def _ingest(task: Task, settings: OperatorSettings, choice: ResolvedTask, text: str) -> Manifest:
    found = ingest_labels(task.metadata)
    asked = 0 if task.spec.ingest is None else task.spec.ingest.replicas
    digest = {f"{GROUP}/config": objects.digest(text)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata(task), "name": ingest_name(task.metadata), "labels": found},
        "spec": {
            "replicas": asked if choice.replicas else 0,
            "selector": {"matchLabels": found},
            "template": {
                "metadata": {"labels": found, "annotations": digest},
                "spec": _ingest_pod(task, settings, choice),
            },
        },
    }


def _ingest_pod(task: Task, settings: OperatorSettings, choice: ResolvedTask) -> Manifest:
    found = mounts(task, settings, choice.store, {"emptyDir": {}})
    container = {
        "name": INGEST,
        **objects.container_basics(settings.aggregator_image, settings),
        "command": ["edgeloop", INGEST, *COMMAND[2:]],
        "resources": task.spec.resources.model_dump(),
        "volumeMounts": [each for _, each in found],
    }
    return {
        **objects.pod_basics(settings),
        "nodeSelector": task.spec.node_selector,
        "tolerations": list(task.spec.tolerations),
        "containers": [container],
        "volumes": [each for each, _ in found],
    }


def _pod(task: Task, settings: OperatorSettings, choice: ResolvedTask) -> Manifest:
    claim = {"persistentVolumeClaim": {"claimName": name_of(task.metadata)}}
    found = mounts(task, settings, choice.store, claim)
    return {
        **objects.pod_basics(settings),
        "nodeSelector": task.spec.node_selector,
        "tolerations": list(task.spec.tolerations),
        "containers": [_container(task, settings, [each for _, each in found])],
        "volumes": [each for each, _ in found],
    }


def _container(task: Task, settings: OperatorSettings, mounts: list[Manifest]) -> Manifest:
    return {
        "name": "aggregator",
        **objects.container_basics(settings.aggregator_image, settings),
        "command": list(COMMAND),
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "resources": task.spec.resources.model_dump(),
        "volumeMounts": mounts,
        # A generator that is away is waited for before anything is answered.
        "startupProbe": _probe("/healthz", periodSeconds=10, failureThreshold=360),
        "livenessProbe": _probe("/healthz", periodSeconds=10, failureThreshold=6),
        "readinessProbe": _probe("/readyz", periodSeconds=10, failureThreshold=1),
    }


def _probe(path: str, **timing: int) -> Manifest:
    return {"httpGet": {"path": path, "port": "metrics"}, "timeoutSeconds": 5, **timing}


def mounts(
    task: Task, settings: OperatorSettings, store: Store | None, folder: Manifest
) -> list[tuple[Manifest, Manifest]]:
    """Return the volumes of a pod that reads a task's file, each with its mount.

    Args:
        task: whose.
        settings: the operator's.
        store: the secret with the ledger's URL; None for SQLite in the folder.
        folder: what is mounted as the task's.
    """
    broker = config.broker(task, settings)
    found = [
        mount("task", {"configMap": {"name": name_of(task.metadata)}}, "/etc/edgeloop/task"),
        mount("folder", folder, config.FOLDER, writable=True),
        mount("tmp", {"emptyDir": {}}, "/tmp", writable=True),  # noqa: S108 - the container's own
    ]
    if broker.secret_name is not None:
        found.append(mount("tls", secret(broker.secret_name), config.TLS))
    if broker.password is not None:
        held = secret(broker.password.secret_name, {broker.password.key: "password"})
        found.append(mount("broker", held, config.PASSWORD))
    if store is not None:
        found.append(mount("store", secret(store.secret_name, {store.key: "url"}), config.STORE))
    if settings.trace_endpoint is not None and settings.trace_headers_secret is not None:
        held = secret(settings.trace_headers_secret, {settings.trace_headers_key: "headers"})
        found.append(mount("trace", held, config.TRACE))
    return found
