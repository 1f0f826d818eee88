"""Looks after Devices: who has one that is live may be admitted, who has not is revoked."""

import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from cloud.operator import config, device_status, objects, reading, selection
from cloud.operator.admissions import Admissions, Known
from cloud.operator.cluster import Cluster, Object
from cloud.operator.device_status import Observation
from cloud.operator.objects import Manifest
from cloud.operator.outcomes import GivenUpError, ReconcileResult, RemovalStep
from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Device, Meta, Task
from cloud.operator.status import OVER
from cloud.operator.tasks import utc
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.protocol.admission import may_join

KIND = "Device"
TOKEN_HOURS = 7 * 24.0
"""For which a token can be used; after that another one is made."""

_MANAGED = "edgeloop-operator"


class StillAdmittedError(GivenUpError):
    """A Device is deleted, and what it stands for is not waited for any longer."""

    reason = "StillAdmitted"

    def __init__(self, device: str, why: str) -> None:
        remedy = "see edgeloop ca revoke, and cohort.evicted of its tasks"
        super().__init__(f"{device} may still take part: {why}; {remedy}")


@dataclass(frozen=True)
class Devices:
    """Looks after Devices; every look begins with what the cluster and the authority hold.

    Attributes:
        cluster: where they are.
        settings: the operator's.
        admissions: of the authority that devices enrol at; None if there is none to ask.
        now: the clock.
    """

    cluster: Cluster
    settings: OperatorSettings
    admissions: Admissions | None
    now: Callable[[], str] = utc

    def reconcile(self, namespace: str, name: str) -> ReconcileResult | None:
        """Look after a Device once; return what that came to, None if there is nothing to tell.

        Raises:
            ApiException: if the cluster refuses something, or is away.
        """
        device = reading.live(self.cluster, Device, namespace, name, self.now())
        if not isinstance(device, Device):
            return device
        seen = self._observe(device)
        told = device_status.build_status(device, seen, self.now())
        if told != device.status:
            self.cluster.write_status(KIND, namespace, name, told)
        turned = told["phase"] != device.status.get("phase")
        return ReconcileResult(told["phase"], seen.problem or seen.done, turned)

    def remove(self, namespace: str, name: str, seconds: float) -> RemovalStep:
        """Let a deleted Device go, one step.

        Args:
            namespace: where it is.
            name: of it.
            seconds: since its removal began.

        Raises:
            ApiException: if the cluster refuses something, or is away.
            StillAdmittedError: if what it stands for is not waited for any longer.
        """
        found = self.cluster.read_now(KIND, namespace, name)
        if found is None:
            return RemovalStep()
        try:
            device = reading.deleted_device(found)
        except ValidationError as error:
            problem = f"its name cannot be read ({reading.first_problem(error)})"
            raise StillAdmittedError(name, problem) from error
        if self._twin(device):
            return RemovalStep()  # the other one speaks for the device
        step = self._withdrawn(device, seconds)
        if step.waits_for is not None and seconds > self.settings.forget_seconds:
            raise StillAdmittedError(device.name, step.waits_for)
        return step

    def _withdrawn(self, device: Device, seconds: float) -> RemovalStep:
        """Revoke a deleted device, and see whether its tasks go on without it."""
        revoked, (tasks, odd) = "", reading.tasks(self.cluster, device.metadata.namespace)
        if self.admissions is not None:
            try:
                self._take_back(self.admissions, device.status.get("invitations", ()))
                called = self._called(tasks, odd)
                known = self._known(device, called, self.admissions, seconds)
                admitted = [task for task, each in known.items() if each.admitted]
                revoked = self._revoke(device, self.admissions, admitted)
            except EdgeloopError as error:
                return RemovalStep(str(error))
        left = [
            each.metadata.name
            for each in tasks
            if each.metadata.deletion_timestamp is None
            and selection.invites(each, device.name)
            and device.name not in each.status.get("evicted", ())
        ]
        left += [each["metadata"]["name"] for each in odd if _may_keep(each, device.name)]
        waits_for = f"{', '.join(left)} to go on without it" if left else None
        return RemovalStep(waits_for, revoked)

    def _observe(self, device: Device) -> Observation:
        tasks, odd = reading.tasks(self.cluster, device.metadata.namespace)
        evicted = [t.metadata.name for t in tasks if device.name in t.status.get("evicted", ())]
        if self.admissions is None:
            return Observation(evicted, has_authority=False)
        try:
            return self._admitted(device, self._called(tasks, odd), self.admissions, evicted)
        except EdgeloopError as error:
            return device_status.unanswered(device, evicted, str(error))

    def _admitted(
        self,
        device: Device,
        called: dict[str, str],
        admissions: Admissions,
        evicted: Collection[str],
    ) -> Observation:
        """Have the authority admit a device to what its Device says, and to nothing else."""
        changed = device.status.get("observedGeneration") != device.metadata.generation
        known = self._known(device, called, admissions, 0.0 if changed else None)
        wanted = self._wanted(device, called)
        admitted = {task for task, standing in known.items() if standing.admitted}
        left = set() if wanted is None else admitted - wanted
        if left and self._twin(device):
            left = set()
        done = self._revoke(device, admissions, left)
        own = {*device.status.get("revoked", ()), *left}
        asked = sorted((wanted or set()) - admitted)
        waiting = [
            task for task in asked if task not in known or task in own or _held(device, task)
        ]
        invitations = self._invited(device, admissions, waiting)
        return Observation(
            evicted,
            admitted=admitted - left,
            revoked=own - admitted.difference(left) - set(waiting),
            invitations=invitations,
            done=done,
        )

    def _called(self, tasks: list[Task], odd: list[Object]) -> dict[str, str]:
        """Return what devices call tasks, by their names; of odd ones only if that is known."""
        told = {each["metadata"]["name"]: (each.get("status") or {}).get("task") for each in odd}
        known = {each.metadata.name: config.name_of(each, self.settings) for each in tasks}
        return known | {name: str(each) for name, each in told.items() if each}

    def _wanted(self, device: Device, called: dict[str, str]) -> set[str] | None:
        """Return the tasks that a device may be admitted to; None for all that admit it."""
        if device.spec.suspended:
            return set()
        if device.spec.tasks is None:
            return None
        begins = config.prefix(device.metadata.namespace, self.settings)
        return {called.get(each, f"{begins}{each}") for each in device.spec.tasks}

    def _known(
        self, device: Device, called: dict[str, str], admissions: Admissions, seconds: float | None
    ) -> Known:
        """Return a device's standing for the tasks of its own namespace."""
        named = set(called.values())
        begins = config.prefix(device.metadata.namespace, self.settings)
        found = admissions.of(device.name, seconds)
        return {
            task: each
            for task, each in found.items()
            if task in named or (begins and task.startswith(begins))
        }

    def _revoke(self, device: Device, admissions: Admissions, tasks: Collection[str]) -> str:
        for task in sorted(tasks):
            admissions.revoke(device.name, task)
        return f"no more admitted to {', '.join(sorted(tasks))}" if tasks else ""

    def _invited(
        self, device: Device, admissions: Admissions, waiting: list[str]
    ) -> list[dict[str, str]]:
        """Have a token wait in a secret for each task; return what is known of them."""
        before = list(device.status.get("invitations", ()))
        if not waiting and not before:
            return []
        held = self._secret(device)
        good = [
            each
            for each in before
            if held and each["task"] in waiting and self.now() < each["until"]
        ]
        self._take_back(admissions, [each for each in before if each not in good])
        new = [task for task in waiting if task not in {each["task"] for each in good}]
        if not new and good == before:
            return good
        tokens: dict[str, str] = {}
        for task in new:
            made = admissions.invite(device.name, task, TOKEN_HOURS)
            tokens[task] = base64.b64encode(made.token.encode()).decode()
            good.append({"task": task, "id": made.id, "until": self._until()})
        name = secret_name(device.metadata)
        there = self.cluster.secret_data(device.metadata.namespace, name) if held else {}
        kept = {each["task"] for each in good} - tokens.keys()
        data = {task: text for task, text in there.items() if task in kept} | tokens
        self.cluster.apply(secret(device.metadata, data))
        return sorted(good, key=lambda each: each["task"])

    def _secret(self, device: Device) -> bool:
        """Return whether the secret for a device's tokens is there.

        Raises:
            EdgeloopError: if it is somebody else's.
        """
        space, name = device.metadata.namespace, secret_name(device.metadata)
        found = self.cluster.read_followed("Secret", space, name) or self.cluster.secret(
            space, name
        )
        if found is not None and not _is_of(found, device.metadata):
            problem = "is there already, and is not this Device's"
            raise ConfigError(f"the secret {name}", problem, "delete it if nobody needs it")
        return found is not None

    def _take_back(self, admissions: Admissions, invitations: Collection[dict[str, str]]) -> None:
        for each in invitations:
            admissions.take_back(each["id"])

    def _until(self) -> str:
        end = datetime.fromisoformat(self.now()) + timedelta(hours=TOKEN_HOURS)
        return end.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _twin(self, device: Device) -> bool:
        """Return whether another Device that is live has the same name at the broker.

        One that cannot be read counts as live.
        """
        namespace = device.metadata.namespace
        others = reading.devices(self.cluster, namespace)
        others += reading.unreadable_devices(self.cluster, namespace)
        return any(
            other.name == device.name and other.is_live
            for other in others
            if other.metadata.uid != device.metadata.uid
        )


def secret_name(device: Meta) -> str:
    """Return the name of the secret with a device's tokens."""
    return f"{device.name[:230]}-enrolment"


def secret(device: Meta, data: dict[str, str]) -> Manifest:
    """Return the secret with a device's tokens, by what their tasks are called; it goes with it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(device),
            "namespace": device.namespace,
            "labels": {
                "app.kubernetes.io/name": "edgeloop",
                "app.kubernetes.io/component": "enrolment",
                "app.kubernetes.io/managed-by": _MANAGED,
            },
            "ownerReferences": [objects.owner(KIND, device)],
        },
        "type": "Opaque",
        "data": data,
    }


def _may_keep(task: Object, device: str) -> bool:
    """Return whether a task that cannot be read may go on with a device."""
    status = task.get("status") or {}
    if task["metadata"].get("deletionTimestamp") or status.get("phase") in OVER:
        return False
    named = [reading.asked(task, "cohort", "devices"), status.get("cohort", {}).get("devices")]
    invited = any(device in each for each in named if isinstance(each, list))
    patterns = reading.asked(task, "cohort", "admit")
    admits = (
        [each for each in patterns if isinstance(each, str)] if isinstance(patterns, list) else []
    )
    return (invited or may_join(device, admits)) and device not in status.get("evicted", ())


def _held(device: Device, task: str) -> bool:
    """Return whether a token for a task was made that was not used yet, as far as was known."""
    return any(each["task"] == task for each in device.status.get("invitations", ()))


def _is_of(held: Object, device: Meta) -> bool:
    owners = held["metadata"].get("ownerReferences") or []
    return any(each.get("uid") == device.uid for each in owners)
