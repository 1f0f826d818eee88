"""How a FederatedTask is: plain functions from what was seen to its status."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from cloud.operator.conditions import Condition, merge_conditions
from cloud.operator.selection import Selection
from cloud.operator.spec import AskedBase, Task

Phase = Literal["Pending", "Running", "Paused", "Succeeded", "Failed", "Cancelled"]
Status = dict[str, Any]

OVER = ("Succeeded", "Failed", "Cancelled")
NO_ACCOUNTING = "the task has no privacy: nothing counts what uploads tell; epsilon stays empty"
NO_STATUS = "no device has told yet what it has spent"


@dataclass(frozen=True)
class AggregatorStatus:
    """What an aggregator tells at /status.

    Attributes:
        run: the run's identity.
        finished: whether the last evaluation is done.
        round: the open one; equal to `rounds` when all are closed.
        rounds: how many there are.
        accuracy: of the last evaluation; None before the first.
        participants: of the last closed round; None before the first.
        obstacles: why no round can continue now.
        epsilon: the most that a device has spent; None without privacy, or before an answer.
        forgotten: devices that were taken out.
    """

    run: str
    finished: bool
    round: int
    rounds: int
    accuracy: float | None
    participants: int | None
    obstacles: tuple[str, ...] = ()
    epsilon: float | None = None
    forgotten: tuple[str, ...] = ()


@dataclass(frozen=True)
class PodObservation:
    """What the cluster tells of a task's pod.

    Attributes:
        uid: of the pod.
        restarts: of its container.
        problem: why it does not run, or last ended; None if nothing is wrong.
        pending: whether none of its containers has been started yet.
    """

    uid: str
    restarts: int
    problem: str | None = None
    pending: bool = False


@dataclass(frozen=True)
class Observation:
    """What was seen of a task at one look.

    Attributes:
        aggregator: None while the aggregator does not answer.
        pod: None while there is none.
        refused: why the spec as it is now is not followed; None if it is.
        obstacle: why nothing could be made of it yet; None if it was.
        selection: the devices that its selector stands for; None if it has none, or not yet.
        waits: the reason of the obstacle, one word; empty if it has none of its own.
        base: the reference that its base stands for; None if it has none, or not yet.
        task: what the devices call it; None while that is not settled.
        beginning: what its run has begun with, as TOML; None if that is not told anew.
        warning: the newest of the cluster's of what was made for it; None if all is well.
        evicted: devices that it goes on without, because their Devices say so.
    """

    aggregator: AggregatorStatus | None = None
    pod: PodObservation | None = None
    refused: str | None = None
    obstacle: str | None = None
    selection: Selection | None = None
    waits: str = ""
    base: str | None = None
    task: str | None = None
    beginning: str | None = None
    warning: str | None = None
    evicted: tuple[str, ...] = ()


def build_status(task: Task, seen: Observation, now: str) -> Status:
    """Return a task's new status.

    Args:
        task: with the status from before.
        seen: of it just now.
        now: the time, as Kubernetes writes it.
    """
    status: Status = {"rounds": task.spec.rounds, **task.status}
    status["observedGeneration"] = task.metadata.generation
    if not is_over(task):
        status |= _progress(seen.aggregator) | _counted(task, seen)
    if seen.selection is not None:
        devices = list(seen.selection.devices)
        status["cohort"] = {"size": len(devices), "devices": devices}
    if seen.evicted:
        status["evicted"] = list(seen.evicted)
    if seen.task is not None:
        status["task"] = seen.task
    if seen.beginning is not None:
        status["beginning"] = seen.beginning
    phase = phase_of(task, seen, int(status.get("restarts", 0)))
    status |= {"phase": phase, "progress": f"{status.get('round', 0)}/{status['rounds']}"}
    status |= _error(task, seen) | _times(task.status, phase, now)
    conditions = [
        replace(each, generation=task.metadata.generation)
        for each in _conditions(task, seen, phase)
    ]
    return {
        **status,
        "conditions": merge_conditions(task.status.get("conditions", []), conditions, now),
    }


def phase_of(task: Task, seen: Observation, restarts: int) -> Phase:
    """Return the phase that a task is in now.

    Args:
        task: with the status from before.
        seen: of it just now.
        restarts: failures in a row.
    """
    before: Phase = task.status.get("phase", "Pending")
    if is_over(task):
        return before
    told = seen.aggregator
    if told is not None and _is_done(task, told):
        return "Succeeded"
    if seen.refused is not None:
        return before
    if task.spec.state != "Running":
        return task.spec.state
    if restarts > task.spec.retries:
        return "Failed"
    return "Running" if seen.aggregator is not None or before == "Running" else "Pending"


def is_over(task: Task) -> bool:
    """Return whether a task is over: for good, or until its spec is another one."""
    phase = task.status.get("phase")
    if phase == "Succeeded":
        done = task.spec.rounds <= int(task.status.get("rounds", task.spec.rounds))
        return done and _all_forgotten(task, task.status.get("forgotten", ()))
    return phase == "Cancelled" or (phase == "Failed" and not spec_changed(task))


def _is_done(task: Task, told: AggregatorStatus) -> bool:
    """Return whether an aggregator has done all that the task asks for."""
    enough = told.rounds >= task.spec.rounds
    return told.finished and enough and _all_forgotten(task, told.forgotten)


def _all_forgotten(task: Task, out: Collection[str]) -> bool:
    """Return whether nobody is left to take out, of those whom the task names."""
    return set(task.spec.cohort.forgotten) <= set(out)


def is_refused(task: Task) -> bool:
    """Return whether a task's spec was not followed at the last look."""
    conditions = task.status.get("conditions", [])
    return any(each["type"] == "Accepted" and each["status"] == "False" for each in conditions)


def spec_changed(task: Task) -> bool:
    """Return whether a task's spec is another one than at the last look."""
    return task.status.get("observedGeneration") != task.metadata.generation


def replicas(task: Task) -> int:
    """Return how many aggregators a task should have now: one, or none."""
    return 0 if is_over(task) or task.spec.state != "Running" else 1


def _progress(told: AggregatorStatus | None) -> Status:
    if told is None:
        return {}
    status: Status = {"run": told.run, "round": told.round, "rounds": told.rounds}
    if told.forgotten:
        status["forgotten"] = list(told.forgotten)
    if told.accuracy is not None:
        status["accuracy"] = f"{told.accuracy:.4f}"
    if told.participants is not None:
        status["participants"] = told.participants
    if told.epsilon is not None:
        status["epsilon"] = f"{told.epsilon:.4f}"
    return status


def _counted(task: Task, seen: Observation) -> Status:
    """Count the failures in a row: a closed round begins a new row, and so does a new spec."""
    before = task.status
    pod: Status = {}
    row = int(before.get("restarts", 0))
    if seen.pod is not None:
        known = int(before.get("podRestarts", 0)) if before.get("pod") == seen.pod.uid else 0
        row += max(0, seen.pod.restarts - known)
        pod = {"pod": seen.pod.uid, "podRestarts": seen.pod.restarts}
    closed = seen.aggregator is not None and seen.aggregator.round > int(before.get("round", 0))
    return {**pod, "restarts": 0 if closed or spec_changed(task) else row}


def _error(task: Task, seen: Observation) -> Status:
    """Return what is wrong, for a person: an empty sentence if nothing is."""
    if is_over(task):
        return {"lastError": task.status.get("lastError", "")}
    pod = seen.pod.problem if seen.pod is not None else None
    healthy = seen.aggregator is not None and not seen.aggregator.obstacles
    told = [] if healthy else [seen.warning if seen.aggregator is None else None, pod]
    reasons = [seen.refused, seen.obstacle, *told]
    if seen.aggregator is not None:
        reasons += seen.aggregator.obstacles
    return {"lastError": next((each for each in reasons if each), "")}


def _times(before: Mapping[str, Any], phase: Phase, now: str) -> Status:
    ended = before.get("completionTime") or now
    times: Status = {"completionTime": ended if phase in OVER else None}
    if phase in ("Running", "Succeeded") and "startTime" not in before:
        times["startTime"] = now
    return times


def _conditions(task: Task, seen: Observation, phase: Phase) -> list[Condition]:
    accepted, failed = seen.refused is None, phase == "Failed"
    return [
        Condition("Accepted", accepted, "Valid" if accepted else "Refused", seen.refused or ""),
        _ready(seen, phase),
        Condition("Complete", phase == "Succeeded", phase, ""),
        Condition("Failed", failed, phase, _why(task, seen) if failed else ""),
        _accounted(task, seen),
        *([] if seen.selection is None else [_as_selected(seen.selection)]),
        *([] if task.spec.base is None else [_bound(task.spec.base, seen)]),
    ]


def _accounted(task: Task, seen: Observation) -> Condition:
    asked = task.spec.privacy
    if asked is None:
        return Condition("PrivacyAccounted", False, "NoPrivacy", NO_ACCOUNTING)
    spent = seen.aggregator.epsilon if seen.aggregator is not None else None
    text = task.status.get("epsilon") if spent is None else f"{spent:.4f}"
    if text is None:
        return Condition("PrivacyAccounted", False, "NothingTold", NO_STATUS)
    budget = "no budget" if asked.epsilon is None else f"a budget of {asked.epsilon}"
    message = f"epsilon {text} at delta {asked.delta}, of the device that spent most; {budget}"
    return Condition("PrivacyAccounted", True, "Accounted", message)


def _as_selected(selection: Selection) -> Condition:
    if not selection.drift:
        return Condition("AsSelected", True, "Same", "")
    text = f"cohort.selector would now find {selection.drift}; the run keeps its devices"
    return Condition("AsSelected", False, "Changed", f"{text}: create another task for others")


def _bound(asked: AskedBase, seen: Observation) -> Condition:
    """Return whether a task's base is chosen; its aggregator checks references."""
    if seen.base is None:
        return Condition("BaseBound", False, seen.waits or "Waiting", seen.obstacle or "")
    if asked.name is None:
        return Condition("BaseBound", True, "Named", seen.base)
    query = dict(part.partition("=")[::2] for part in seen.base.partition("?")[2].split("&"))
    told = f"base {asked.name}, version {query.get('version')}, SHA-256 {query.get('sha256')}"
    return Condition("BaseBound", True, "Bound", told)


def _why(task: Task, seen: Observation) -> str:
    pod = seen.pod.problem if seen.pod is not None else None
    last = pod or task.status.get("lastError") or "see the aggregator's log"
    return f"failed more than {task.spec.retries} times without closing a round; {last}"


def _ready(seen: Observation, phase: Phase) -> Condition:
    if phase in OVER or phase == "Paused":
        return Condition("Ready", False, phase, "")
    if seen.aggregator is None:
        problem = seen.obstacle or seen.warning or (seen.pod.problem if seen.pod else None)
        reason = seen.waits or "NotAnswering"
        return Condition("Ready", False, reason, problem or "it does not answer yet")
    if seen.aggregator.obstacles:
        return Condition("Ready", False, "Waiting", "; ".join(seen.aggregator.obstacles))
    return Condition("Ready", True, "Answering", "")
