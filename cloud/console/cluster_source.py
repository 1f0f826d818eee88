"""The FederatedTasks of a Kubernetes cluster: their spec says what is wanted of them."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from pydantic import Field, ValidationError
from urllib3.exceptions import HTTPError

from cloud.console import federated_task
from cloud.console.reported import Aggregator
from cloud.console.settings import AGGREGATOR_URL
from cloud.console.sources import ImpossibleError, Kind, Sighting, looked
from cloud.operator.cluster import configure, error_message
from cloud.operator.spec import GROUP, VERSION, Algorithm, Data, Part
from edgeloop.errors import ConfigError, EdgeloopError, UnavailableError
from edgeloop.protocol.admission import may_join
from edgeloop.remote.models import Act, TaskState, Verb
from edgeloop.runtime import wording

log = logging.getLogger(__name__)

Object = dict[str, Any]

_WANTED = {"start": "Running", "resume": "Running", "pause": "Paused", "cancel": "Cancelled"}
_STATES: dict[str, TaskState] = {
    "Succeeded": "Finished",
    "Paused": "Paused",
    "Cancelled": "Cancelled",
    "Running": "Running",
}


class _Spec(Part):
    """What a server shows of a FederatedTask's spec; the rest is the operator's."""

    state: str = "Running"
    algorithm: Algorithm
    data: Data
    rounds: int


class _Task(Part):
    """A FederatedTask, as far as a server shows it."""

    spec: _Spec
    status: Annotated[Object, Field(default_factory=dict)]


class Cluster:
    """The FederatedTasks of namespaces.

    Args:
        namespaces: which.
        url: of a task's aggregator, with `{name}` and `{namespace}`.
        token_file: with a viewer's token on its first line; None where none is needed.

    Raises:
        ConfigError: if there is no access to a cluster.
    """

    kind: Kind = "cluster"

    def __init__(
        self,
        namespaces: Sequence[str],
        url: str = AGGREGATOR_URL,
        token_file: Path | None = None,
    ) -> None:
        configure()
        self._api, self._namespaces, self._url = client.CustomObjectsApi(), namespaces, url
        self._token_file = token_file
        self._aggregators: dict[str, Aggregator] = {}
        self._unseen: frozenset[str] = frozenset(namespaces)

    def look(self) -> list[Sighting]:
        """Return the tasks of the namespaces that can be read, as they are now."""
        held: list[Object] = []
        problems: dict[str, EdgeloopError] = {}
        for namespace in self._namespaces:
            try:
                held += self._list(namespace)
            except EdgeloopError as error:
                problems[namespace] = error
        self._unseen = frozenset(problems)
        if len(problems) == len(self._namespaces):
            raise next(iter(problems.values()))
        for namespace, problem in problems.items():
            log.warning("cannot see the tasks of namespace %s: %s", namespace, problem)
        return looked(self._seen, held)

    def has_gone(self, task: str) -> bool:
        """Return whether a task that the last look has not found is there no more."""
        return _split(task)[0] not in self._unseen

    def act(self, task: str, verb: Verb) -> Act:
        """Set a FederatedTask's `spec.state`; the operator brings it about."""
        namespace, name = _split(task)
        held = self._get("federatedtasks", namespace, name)
        if held["spec"].get("state") == "Cancelled":
            raise ImpossibleError(task, "was cancelled, which is for good", "make a new one")
        state = _WANTED[verb]
        self._patch("federatedtasks", namespace, name, {"spec": {"state": state}})
        detail = f"spec.state of {name} in {namespace} is {state}; the operator brings it about"
        return Act(done=True, state=_STATES[state], detail=detail)

    def evict(self, task: str, device: str) -> Act:
        """Name a device in `spec.cohort.evicted`."""
        namespace, name = _split(task)
        held = self._get("federatedtasks", namespace, name)
        cohort, told = held["spec"]["cohort"], held.get("status", {}).get("cohort", {})
        known = [*(cohort.get("devices") or []), *told.get("devices", [])]
        if device not in known and not may_join(device, tuple(cohort.get("admit") or ())):
            problem = f"{device} is no device of it"
            raise ImpossibleError(task, problem, "name one of the task's devices")
        evicted = sorted({*(cohort.get("evicted") or []), device})
        patch = {"spec": {"cohort": {"evicted": evicted}}}
        self._patch("federatedtasks", namespace, name, patch)
        detail = f"{device} is in spec.cohort.evicted; the operator brings it about"
        return Act(done=False, state=_state(held), detail=detail)

    def create(self, table: Mapping[str, Any], namespace: str, begin: bool) -> Act:
        """Make a FederatedTask."""
        if namespace not in self._namespaces:
            remedy = f"give one of {', '.join(self._namespaces)}"
            raise ConfigError("namespace", f"{namespace!r} is none that is followed", remedy)
        made = federated_task.of(table, begin)
        call = self._api.create_namespaced_custom_object
        name = f"{namespace}.{made['metadata']['name']}"
        _asked(name, call, GROUP, VERSION, namespace, "federatedtasks", made)
        detail = f"FederatedTask {made['metadata']['name']} is in {namespace}"
        return Act(done=True, state="Running" if begin else "Paused", detail=f"{name}: {detail}")

    def broker(self, task: str) -> None:
        """Return nothing: the server's own `[broker]` table says it."""

    def labelled(self, task: str, labels: dict[str, str]) -> frozenset[str]:
        """Return the names of the namespace's Devices with some labels."""
        call = self._api.list_namespaced_custom_object
        words = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        namespace, _ = _split(task)
        asked = partial(call, label_selector=words)
        found = _asked(task, asked, GROUP, VERSION, namespace, "devices")
        return frozenset(_device_name(each) for each in found["items"])

    def _seen(self, held: Object) -> Sighting:
        namespace, name = held["metadata"]["namespace"], held["metadata"]["name"]
        called = f"{namespace}.{name}"
        try:
            spec = _Task.model_validate(held).spec
        except ValidationError as error:  # other CRDs have let it in: it is in no other's way
            problem = wording.first_problem(error.errors())
            waits = f"it cannot be read: {problem}; apply the CRDs of this server's version"
            return Sighting(called, "Away", waits=waits)
        state, waits = _state(held), str(held.get("status", {}).get("lastError") or "")
        url = self._url.format(name=name, namespace=namespace)
        aggregator = self._aggregators.setdefault(url, Aggregator(url, self._token_file))
        told = aggregator.status() if state == "Running" else None
        if told is not None:
            waits = told[1]
        elif state == "Running":
            state, waits = "Away", waits or _why_away(held)
        return Sighting(
            called,
            state,
            spec.algorithm.name,
            spec.rounds,
            None if told is None else told[0],
            waits,
            aggregator=aggregator if state in ("Running", "Away") else None,
            class_names=spec.data.class_names,
            shape=spec.data.shape,
        )

    def _list(self, namespace: str) -> list[Object]:
        call = self._api.list_namespaced_custom_object
        found = _asked(namespace, call, GROUP, VERSION, namespace, "federatedtasks")
        return list(found["items"])

    def _get(self, plural: str, namespace: str, name: str) -> Object:
        call = self._api.get_namespaced_custom_object
        return _asked(f"{namespace}.{name}", call, GROUP, VERSION, namespace, plural, name)

    def _patch(self, plural: str, namespace: str, name: str, patch: Object) -> None:
        call = self._api.patch_namespaced_custom_object
        _asked(f"{namespace}.{name}", call, GROUP, VERSION, namespace, plural, name, patch)


def _state(held: Object) -> TaskState:
    wanted = held["spec"].get("state", "Running")
    if wanted != "Running":
        return _STATES.get(wanted, "Running")
    phase = str(held.get("status", {}).get("phase", ""))
    return "Finished" if phase == "Succeeded" else "Running"


def _why_away(held: Object) -> str:
    """Return what the operator says of a task whose aggregator does not answer."""
    if "deletionTimestamp" in held["metadata"]:
        return "it is being deleted"
    found = held.get("status", {}).get("conditions") or ()
    said = next((each.get("message") for each in found if each.get("type") == "Ready"), "")
    return str(said or "its aggregator does not answer")


def _device_name(held: Object) -> str:
    """Return what the broker and the tasks call a Device."""
    return str((held.get("spec") or {}).get("deviceName") or held["metadata"]["name"])


def _split(task: str) -> tuple[str, str]:
    namespace, _, name = task.partition(".")
    return namespace, name


def _asked(what: str, call: Any, *words: Any) -> Object:
    try:
        found: Object = call(*words, _request_timeout=30.0)
    except ApiException as error:
        raise _refused(what, error) from error
    except HTTPError as error:
        raise UnavailableError("cluster", f"is away ({error})", "look after it") from error
    return found


def _refused(what: str, error: ApiException) -> EdgeloopError:
    message = error_message(error)
    if error.status in (404, 409, 422):
        return ImpossibleError(what, message, "look at it with kubectl")
    return UnavailableError("cluster", message, "look at the server's rights")
