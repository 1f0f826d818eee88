"""The job that takes back what a deleted task leaves at the broker and in a shared database."""

from datetime import datetime, timedelta

from cloud.operator import manifests, objects
from cloud.operator.objects import Manifest
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Meta, Store, Task

CONTAINER = "forgetting"
_RETRIES = 3
"""After which it fails; Kubernetes waits 10 s, 20 s, 40 s between them."""


def name_of(task: Meta) -> str:
    """Return the job's name; that of a task of the same name that was deleted before is another."""
    return f"{task.name}-forget-{objects.digest(task.uid)[:8]}"


def labels(task: Meta) -> dict[str, str]:
    """Return the labels of the job and its pods, by which the network lets them through."""
    return {**manifests.labels(task), "app.kubernetes.io/component": "forgetting"}


def cleanup_job(task: Task, settings: OperatorSettings, store: Store | None) -> Manifest:
    """Return the job; its ledger is the shared one, for the task's own volume goes with the task.

    Args:
        task: that is deleted.
        settings: the operator's.
        store: the secret with the ledger's URL; None for SQLite on the task's volume.
    """
    meta = task.metadata
    template = {"metadata": {"labels": labels(meta)}, "spec": _pod(task, settings, store)}
    manifest: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(meta),
            "namespace": meta.namespace,
            "labels": labels(meta),
            "ownerReferences": [objects.owner("FederatedTask", meta)],
        },
        "spec": {
            "backoffLimit": _RETRIES,
            "podFailurePolicy": objects.failure_policy(CONTAINER),
            "activeDeadlineSeconds": int(settings.forget_seconds),
            "template": template,
        },
    }
    return objects.with_digest(manifest)


def _pod(task: Task, settings: OperatorSettings, store: Store | None) -> Manifest:
    mounts = manifests.mounts(task, settings, store, {"emptyDir": {}})
    container = {
        "name": CONTAINER,
        **objects.container_basics(settings.aggregator_image, settings),
        "command": [*manifests.COMMAND, "--forget"],
        "resources": task.spec.resources.model_dump(),
        "volumeMounts": [each for _, each in mounts],
    }
    return {
        **objects.pod_basics(settings),
        "restartPolicy": "Never",
        "nodeSelector": task.spec.node_selector,
        "tolerations": list(task.spec.tolerations),
        "containers": [container],
        "volumes": [each for each, _ in mounts],
    }


def overdue(made: str, now: str, seconds: float) -> bool:
    """Return whether a job that was made then has had its time; both as Kubernetes writes them."""
    return datetime.fromisoformat(now) - datetime.fromisoformat(made) > timedelta(seconds=seconds)
