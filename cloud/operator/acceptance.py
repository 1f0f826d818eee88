"""Whether a task can be run at all, said before anything is made of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity

from cloud.operator import cluster, config
from cloud.operator.cluster import Cluster, Object
from cloud.operator.objects import Manifest
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import GROUP, Task
from cloud.operator.sums import wrong_sums
from edgeloop import algorithms
from edgeloop.errors import ConfigError, choose
from edgeloop.protocol.admission import may_join

PURPOSE = f"{GROUP}/secret-for"
"""Label of a secret that tasks may name: what for."""

BROKER_HOST = f"{GROUP}/broker-host"
"""Annotation of a secret for a broker: the only host that it may be shown to."""

INVALID, FORBIDDEN = 422, 403
UNTRIED = 400
"""Where a webhook of somebody's takes no trials: the cluster is then asked in earnest."""

_RIGHTLESS = "cannot create resource"
"""What the cluster says where the operator has not the right to try a pod out."""


@dataclass(frozen=True)
class Acceptance:
    """Looks for what is wrong with a task.

    Attributes:
        cluster: where it is.
        settings: the operator's.
    """

    cluster: Cluster
    settings: OperatorSettings

    def problem(self, task: Task, *, begun: bool) -> str | None:
        """Return why a task's spec cannot be followed; None if nothing is seen to be wrong.

        Args:
            task: with its devices, if a selector has found them.
            begun: whether its run has: then the algorithm is settled.
        """
        found = [] if begun else [wrong_algorithm(task, self.settings.algorithms)]
        found += [wrong_names(task), wrong_sums(task)]
        found += [wrong_resources(task), self._wrong_ingest(task), *self._wrong_secrets(task)]
        found.append(wrong_signatures(task, self.settings))
        return next((each for each in found if each), None)

    def refusal(self, task: Task, wanted: list[Manifest]) -> str | None:
        """Return why the cluster would not take what a task needs; nothing is made.

        Raises:
            ApiException: if it does not say.
        """
        if missing := self._missing_class(task):
            return missing
        try:
            for manifest in wanted:
                self.cluster.try_out(manifest)
            self._try_pod(wanted)
        except ApiException as error:
            said = cluster.error_message(error)
            if error.status == INVALID or (error.status == FORBIDDEN and not _rightless(error)):
                return said
            if error.status != UNTRIED:
                raise
        return None

    def _try_pod(self, wanted: list[Manifest]) -> None:
        """Have quotas, limits and policies look at the pod, which its StatefulSet does not meet."""
        for manifest in wanted:
            if manifest["kind"] == "StatefulSet":
                try:
                    self.cluster.try_pod(pod_of(manifest))
                except ApiException as error:
                    if not _rightless(error):
                        raise

    def _missing_class(self, task: Task) -> str | None:
        name = task.spec.storage.class_name
        if name is None or self.cluster.has_storage_class(name) is not False:
            return None
        remedy = "create another task with one that `kubectl get storageclass` lists"
        return f"storage.className: there is no StorageClass {name}; {remedy}"

    def _wrong_ingest(self, task: Task) -> str | None:
        if task.spec.ingest is None or task.spec.store or self.settings.database_secret:
            return None
        remedy = "give store, a secret with a PostgreSQL URL, or the operator a database"
        return f"ingest: its processes write to one ledger, and SQLite is one process's; {remedy}"

    def _wrong_secrets(self, task: Task) -> Iterator[str | None]:
        namespace = task.metadata.namespace
        for field, name, purpose in secrets_of(task):
            held = self.cluster.secret(namespace, name)
            yield wrong_secret(field, name, purpose, held)
            if held is not None and task.spec.broker is not None and purpose == "broker":
                yield wrong_host(field, held, task.spec.broker.host)


def wrong_algorithm(task: Task, others: tuple[str, ...]) -> str | None:
    """Return what is wrong with a task's algorithm, variant and hyperparameters.

    Args:
        task: whose.
        others: algorithms that the aggregators' image has besides; nothing is known of theirs.
    """
    asked, spec = task.spec.algorithm, task.spec
    for name, value in asked.hyperparameters.items():
        if not isinstance(value, bool | int | float | str):
            return f"algorithm.hyperparameters.{name}: is no number, boolean or string"
    if asked.name in others:
        return None
    if asked.name not in algorithms.names():
        known = choose(asked.name, [*algorithms.names(), *others])
        return f"algorithm.name: there is no {asked.name!r}; {known}"
    options = {name: config.scalar(value) for name, value in asked.hyperparameters.items()}
    facts = {"classes": len(spec.data.class_names), "width": spec.width, "seed": spec.seed}
    try:
        algorithms.check_options(asked.name, asked.variant, options, **facts, shape=spec.data.shape)
    except ConfigError as error:
        place = "" if error.field in ("variant", "algorithm") else "hyperparameters."
        return f"algorithm.{place}{error}; create another task"
    return _wrong_needs(task)


def _wrong_needs(task: Task) -> str | None:
    """Return what a task names that its algorithm would never ask."""
    name, known = task.spec.algorithm.name, algorithms.info(task.spec.algorithm.name)
    for what in ("generator", "base"):
        if getattr(task.spec, what) is not None and not getattr(known, what):
            return f"{what}: {name} asks none; create another task without it"
    if task.spec.cohort.buffer is not None and not known.averages:
        others = ", ".join(algorithms.names_with("averages"))
        problem = f"cohort.buffer: {name} does more with a round's uploads than to average them"
        return f"{problem}; leave it out, or create another task with one of {others}"
    if "mqtt" not in known.runs_in:
        return f"algorithm.name: {name} runs in simulations only; create another task"
    return None


def wrong_names(task: Task) -> str | None:
    """Return what is wrong with the devices that a task sends away."""
    cohort, name = task.spec.cohort, task.spec.algorithm.name
    for field, named in (("evicted", cohort.evicted), ("forgotten", cohort.forgotten)):
        for each in named:
            if each not in cohort.devices and not may_join(each, cohort.admit):
                return f"cohort.{field}: {each} is no device of the task; take it out again"
    known = name not in algorithms.names() or algorithms.info(name).forgets
    if known or not cohort.forgotten:
        return None
    problem = f"cohort.forgotten: {name} cannot take a device out"
    return f"{problem}; create a task without it, or name it in cohort.evicted"


def wrong_resources(task: Task) -> str | None:
    """Return what no node could give: a request over its limit, a quantity that is none."""
    asked = task.spec.resources
    for name, quantity in [*asked.requests.items(), *asked.limits.items()]:
        try:
            parse_quantity(quantity)
        except ValueError as error:
            return f"resources: {name}: {error}"
    for name in asked.requests.keys() & asked.limits.keys():
        if parse_quantity(asked.requests[name]) > parse_quantity(asked.limits[name]):
            wrong = f"resources: requests.{name} is {asked.requests[name]}, over limits.{name}"
            return f"{wrong}, {asked.limits[name]}; lower it, or raise the limit"
    return None


def secrets_of(task: Task) -> Iterator[tuple[str, str, str]]:
    """Yield the secrets that a task names itself: the field, the name, and what it is for."""
    broker, store = task.spec.broker, task.spec.store
    if store is not None:
        yield "store.secretName", store.secret_name, "store"
    if broker is not None and broker.secret_name is not None:
        yield "broker.secretName", broker.secret_name, "broker"
    if broker is not None and broker.password is not None:
        yield "broker.password.secretName", broker.password.secret_name, "broker"


def wrong_signatures(task: Task, settings: OperatorSettings) -> str | None:
    """Return why nobody could sign: a signature is made with the certificate of a connection."""
    if config.signatures(task, settings) == "off":
        return None
    broker = config.broker(task, settings)
    if broker.secret_name is not None and broker.client_certificates:
        return None
    whose = "the operator" if task.spec.broker is None else "broker"
    problem = f"signatures: {whose} has no certificates to sign with"
    return f'{problem}; give signatures: "off", or certificates with client certificates'


def wrong_secret(field: str, name: str, purpose: str, held: Object | None) -> str | None:
    """Return why a task may not use a secret: its owner has not said so, by a label."""
    if held is not None and _labels(held).get(PURPOSE) == purpose:
        return None
    remedy = f"whoever owns it may say so: kubectl label secret {name} {PURPOSE}={purpose}"
    if held is None:
        return f"{field}: there is no secret {name} that tasks may use for a {purpose}; {remedy}"
    return f"{field}: the secret {name} is not for a task's {purpose}; {remedy}"


def wrong_host(field: str, held: Object, host: str) -> str | None:
    """Return why a secret may not be shown to a broker: it is for another one."""
    only = (held["metadata"].get("annotations") or {}).get(BROKER_HOST)
    if only in (None, host):
        return None
    return f"{field}: the secret is for the broker {only} only, and not for {host}"


def pod_of(stateful_set: Mapping[str, Any]) -> Manifest:
    """Return the pod that a StatefulSet would make."""
    template, metadata = stateful_set["spec"]["template"], stateful_set["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **template["metadata"],
            "generateName": f"{metadata['name']}-trial-",
            "namespace": metadata["namespace"],
        },
        "spec": template["spec"],
    }


def _labels(held: Object) -> Mapping[str, str]:
    return held["metadata"].get("labels") or {}


def _rightless(error: ApiException) -> bool:
    return error.status == FORBIDDEN and _RIGHTLESS in cluster.error_message(error)
