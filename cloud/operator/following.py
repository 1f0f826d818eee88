"""What is followed of a namespace by watches; of secrets their metadata alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes import watch

from cloud.operator.informers import Informer
from cloud.operator.objects import OURS

Object = dict[str, Any]

SECONDS = 30.0
"""That an answer may take."""

_WATCH_SECONDS = 300  # after which the API server ends a watch, and another one begins

NO_CONTENT = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_NO_CONTENT_OF_ONE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""Ask for metadata alone: of a list, and of each object that a watch tells of."""

_OURS = ("ConfigMap", "Deployment", "Job", "PersistentVolumeClaim", "Pod", "Service", "StatefulSet")

FOLLOWED: dict[str, dict[str, str]] = {
    **{kind: {"label_selector": OURS} for kind in (*_OURS, "Secret")},
    **{kind: {} for kind in ("Base", "Device", "FederatedTask", "Generator")},
    "Event": {"field_selector": "type=Warning"},
}
"""What is watched in every namespace: by the parameters of the request."""


def informer(resource: Any, what: str, namespace: str, kind: str) -> Informer:
    """Return what follows a kind in a namespace, once it is started.

    Args:
        resource: of the dynamic client.
        what: it is of, for the log.
        namespace: that it follows.
        kind: of the objects.
    """
    which, hides = FOLLOWED[kind], kind == "Secret"

    def accepting(form: str) -> Mapping[str, Any]:
        return {"header_params": {"Accept": form}} if hides else {}

    def listed() -> Object:
        more = accepting(NO_CONTENT)
        return plain(resource.get(namespace=namespace, **which, **more, _request_timeout=SECONDS))

    def watched(version: str) -> Iterator[Object]:
        return iter(
            watch.Watch().stream(
                resource.get,
                namespace=namespace,
                **which,
                **accepting(_NO_CONTENT_OF_ONE),
                resource_version=version,
                timeout_seconds=_WATCH_SECONDS,
                serialize=False,
                _request_timeout=(SECONDS, _WATCH_SECONDS + SECONDS),
            )
        )

    return Informer(what, listed, watched)


def plain(found: Any) -> Object:
    """Return an object of the cluster's as plain data."""
    made: Object = found.to_dict()
    return made
