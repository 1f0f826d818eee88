"""What the objects that the operator makes have in common: digests, owners, pods without rights."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import GROUP, VERSION, Meta
from edgeloop.errors import EXIT_INPUT

Manifest = dict[str, Any]

APPLIED = f"{GROUP}/applied"
"""Annotation with the digest of what was applied."""

OURS = "app.kubernetes.io/managed-by=edgeloop-operator"
"""What finds all that the operator makes, and the pods of it."""

USER = 10_001
"""That the images run as."""


def failure_policy(container: str) -> Manifest:
    """Return which ends of a job's pod end the job, or do not count; the rest is tried again.

    Wrong input would be wrong again. What is unavailable or taken now may not be so next time, and
    a pod that Kubernetes has moved away has not failed.

    Args:
        container: the one that does the job's work.
    """
    wrong = {"containerName": container, "operator": "In", "values": [EXIT_INPUT]}
    moved = [{"type": "DisruptionTarget", "status": "True"}]
    return {
        "rules": [
            # Kubernetes 1.27's schema wants the empty list.
            {"action": "FailJob", "onExitCodes": wrong, "onPodConditions": []},
            {"action": "Ignore", "onPodConditions": moved},
        ]
    }


def volume_claim(metadata: Manifest, size: str, class_name: str | None) -> Manifest:
    """Return the claim of a volume that one pod at a time writes.

    Args:
        metadata: of the claim.
        size: of the volume.
        class_name: of its StorageClass; None for the cluster's own.
    """
    named = {} if class_name is None else {"storageClassName": class_name}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
            **named,
        },
    }


def with_digest(manifest: Manifest) -> Manifest:
    """Return a manifest with its own digest among its annotations."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED: digest(manifest)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def digest(value: object) -> str:
    """Return a short digest of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def owner(kind: str, of: Meta) -> Manifest:
    """Return the reference that has an object deleted with its owner."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind,
        "name": of.name,
        "uid": of.uid,
        "controller": True,
    }


def pod_basics(settings: OperatorSettings) -> Manifest:
    """Return what the pods of every object have in common: no rights, no token, no root."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "imagePullSecrets": [{"name": each} for each in settings.pull_secrets],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def container_basics(image: str, settings: OperatorSettings) -> Manifest:
    """Return what every container has in common."""
    environment = {"HOME": "/tmp", "OMP_NUM_THREADS": "1"}  # noqa: S108 - the container's own
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    if settings.log_format != "plain":
        environment["EDGELOOP_LOG_FORMAT"] = settings.log_format
    return {
        "image": image,
        "imagePullPolicy": settings.pull_policy,
        "terminationMessagePolicy": "FallbackToLogsOnError",  # its last words reach the status
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "env": [{"name": name, "value": value} for name, value in environment.items()],
    }


def mount(
    name: str, source: Manifest, path: str, *, writable: bool = False
) -> tuple[Manifest, Manifest]:
    """Return a volume and where a container has it."""
    return {"name": name, **source}, {"name": name, "mountPath": path, "readOnly": not writable}


def secret(name: str, files: Mapping[str, str] | None = None) -> Manifest:
    """Return a volume of a secret, whole, or some of its keys as files of other names."""
    items = [{"key": key, "path": path} for key, path in (files or {}).items()]
    chosen = {"items": items} if items else {}
    return {"secret": {"secretName": name, "defaultMode": 0o440, **chosen}}
