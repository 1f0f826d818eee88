"""What the operator makes for a Base: plain functions from what is asked to manifests.

PersistentVolumeClaim   all its versions
Service                 where aggregators fetch one
StatefulSet             the one server, which writes what is not on the volume yet
"""

from cloud.operator import jobs, objects
from cloud.operator.objects import Manifest, mount
from cloud.operator.settings import BASES_PORT, OperatorSettings
from cloud.operator.spec import Base, Meta

BASES = "/bases"
"""Where a Base's volume is in its server's container."""

STORE = "/store"
"""Where the store of bases and generators is."""


def name_of(base: Meta) -> str:
    """Return the name of everything that belongs to a Base."""
    return f"{base.name}-base"


def labels(base: Meta) -> dict[str, str]:
    """Return the labels by which a Base's pod is found."""
    return {
        "app.kubernetes.io/name": "edgeloop",
        "app.kubernetes.io/component": "base-server",
        "app.kubernetes.io/instance": base.name,
        "app.kubernetes.io/managed-by": "edgeloop-operator",
    }


def of(base: Base, settings: OperatorSettings) -> list[Manifest]:
    """Return what a Base needs, in the order in which to apply it."""
    made = [_claim(base), _service(base), _stateful_set(base, settings)]
    return [objects.with_digest(each) for each in made]


def _metadata(base: Base) -> Manifest:
    return {
        "name": name_of(base.metadata),
        "namespace": base.metadata.namespace,
        "labels": labels(base.metadata),
        "ownerReferences": [objects.owner("Base", base.metadata)],
    }


def _claim(base: Base) -> Manifest:
    storage = base.spec.storage
    return objects.volume_claim(_metadata(base), storage.size, storage.class_name)


def _service(base: Base) -> Manifest:
    port = {"name": "bases", "port": BASES_PORT, "targetPort": "bases", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(base),
        "spec": {"selector": labels(base.metadata), "ports": [port]},
    }


def _stateful_set(base: Base, settings: OperatorSettings) -> Manifest:
    found = labels(base.metadata)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(base),
        "spec": {
            "replicas": 1 if base.spec.state == "Served" else 0,
            "serviceName": name_of(base.metadata),
            "selector": {"matchLabels": found},
            "template": {"metadata": {"labels": found}, "spec": _pod(base, settings)},
        },
    }


def _pod(base: Base, settings: OperatorSettings) -> Manifest:
    claim = {"persistentVolumeClaim": {"claimName": name_of(base.metadata)}}
    mounts = [
        mount("bases", claim, BASES, writable=True),
        mount("tmp", {"emptyDir": {}}, "/tmp", writable=True),  # noqa: S108 - the container's own
    ]
    basics = objects.container_basics(settings.generator_image, settings)
    if settings.store_claim is not None:
        kept = {"persistentVolumeClaim": {"claimName": settings.store_claim, "readOnly": True}}
        mounts.append(mount("store", kept, STORE))
        basics["env"].append({"name": "EDGELOOP_HOME", "value": STORE})
    probe = {"httpGet": {"path": "/healthz", "port": "bases"}, "timeoutSeconds": 5}
    container = {
        "name": "server",
        **basics,
        "command": command(base),
        "ports": [{"name": "bases", "containerPort": BASES_PORT, "protocol": "TCP"}],
        "resources": base.spec.resources.model_dump(),
        "volumeMounts": [each for _, each in mounts],
        "startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**probe, "periodSeconds": 15, "failureThreshold": 8},
        "readinessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 2},
    }
    volumes = [each for each, _ in mounts]
    return {**objects.pod_basics(settings), "containers": [container], "volumes": volumes}


def command(base: Base) -> list[str]:
    """Return what a Base's server runs: it serves, and writes the versions that are missing."""
    asked = [f"--add={each.number}={each.source}" for each in jobs.versions(base.spec)]
    place = ("--repository", BASES, "--host", "0.0.0.0", "--port", str(BASES_PORT))  # noqa: S104 - a pod's own
    return ["edgeloop", "base", "serve", *place, "--name", base.metadata.name, *asked]
