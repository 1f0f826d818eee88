"""The jobs that write a Generator's models into Triton's model repository, and remove them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloud.operator import objects
from cloud.operator.objects import Manifest, mount
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import GROUP, BaseSpec, Generator, GeneratorSpec, Meta
from edgeloop.generators import control

REPOSITORY = "/models"
"""Where the model repository is in a job's container."""

CONTROL = "/etc/edgeloop/triton"
"""Where the secret is that the server asks for."""

RESOURCES = {
    "requests": {"cpu": "100m", "memory": "512Mi"},
    "limits": {"memory": "2Gi"},
}
"""Of a job: it loads a generator once, and copies it."""

CONTAINER = "writer"
_RETRIES = 6
"""After which a job fails; Kubernetes waits 10 s, 20 s, 40 s ... between them."""


@dataclass(frozen=True)
class Version:
    """One of the versions that a Generator or a Base asks for.

    Attributes:
        number: under which it is served.
        source: what it is.
    """

    number: int
    source: str


def versions(spec: GeneratorSpec | BaseSpec) -> list[Version]:
    """Return the versions that a Generator or a Base asks for, the stable one first."""
    stable = Version(spec.version, spec.source)
    if spec.canary is None:
        return [stable]
    return [stable, Version(spec.canary.version, spec.canary.source)]


def job_outcome(job: Mapping[str, Any]) -> str:
    """Return how a job has ended, Complete or Failed; "" while it has not."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next(
        (
            each["type"]
            for each in conditions
            if each["type"] in ("Complete", "Failed") and each["status"] == "True"
        ),
        "",
    )


def labels(generator: Meta) -> dict[str, str]:
    """Return the labels of a Generator's jobs and their pods."""
    return {
        "app.kubernetes.io/name": "edgeloop",
        "app.kubernetes.io/component": "generator-writer",
        "app.kubernetes.io/instance": generator.name,
        "app.kubernetes.io/managed-by": "edgeloop-operator",
    }


def writer(generator: Generator, version: Version, settings: OperatorSettings) -> Manifest:
    """Return the job that writes a version and has the running server take it up.

    Its name has a digest of what it does in it, for a job never changes: another source or other
    settings are another job.
    """
    serving = generator.spec.serving
    command = [
        *("edgeloop", "generator", "serve-files", version.source, REPOSITORY),
        *("--name", generator.metadata.name, "--version", str(version.number)),
        *("--backend", serving.backend, "--instances", str(serving.instances)),
        *("--max-batch-size", str(serving.max_batch_size)),
        "--gpu" if serving.gpu else "--cpu",
        *("--server", str(settings.triton)),
    ]
    return _job(generator.metadata, f"v{version.number}", command, settings)


def remover(generator: Meta, settings: OperatorSettings) -> Manifest:
    """Return the job that removes all versions from the repository."""
    command = ["edgeloop", "generator", "remove-files", generator.name, REPOSITORY]
    return _job(generator, "removal", command, settings)


def _job(meta: Meta, what: str, command: list[str], settings: OperatorSettings) -> Manifest:
    digest = objects.digest([command, settings.generator_image])[:8]
    pod = {
        "metadata": {"labels": labels(meta)},
        "spec": {**_pod(command, settings), "restartPolicy": "Never"},
    }
    manifest: Manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{meta.name}-{what}-{digest}",
            "namespace": meta.namespace,
            "labels": {**labels(meta), f"{GROUP}/writes": what},
            "ownerReferences": [objects.owner("Generator", meta)],
        },
        "spec": {
            "backoffLimit": _RETRIES,
            "podFailurePolicy": objects.failure_policy(CONTAINER),
            "template": pod,
        },
    }
    return objects.with_digest(manifest)


def _pod(command: list[str], settings: OperatorSettings) -> Manifest:
    claim = {"persistentVolumeClaim": {"claimName": settings.repository_claim}}
    mounts = [
        mount("repository", claim, REPOSITORY, writable=True),
        mount("tmp", {"emptyDir": {}}, "/tmp", writable=True),  # noqa: S108 - the container's own
    ]
    basics = objects.container_basics(settings.generator_image, settings)
    if settings.triton_secret:
        shown = objects.secret(settings.triton_secret, {settings.triton_secret_key: "secret"})
        mounts.append(mount("triton", shown, CONTROL))
        basics["env"].append({"name": control.VARIABLE, "value": f"{CONTROL}/secret"})
    container = {
        "name": CONTAINER,
        **basics,
        "command": command,
        "resources": RESOURCES,
        "volumeMounts": [each for _, each in mounts],
    }
    volumes = [each for each, _ in mounts]
    return {**objects.pod_basics(settings), "containers": [container], "volumes": volumes}
