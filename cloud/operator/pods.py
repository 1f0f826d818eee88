"""What a pod tells of itself: how often its container has failed, and why."""

from collections.abc import Iterable, Mapping
from typing import Any

from cloud.operator.status import PodObservation

_LONGEST = 500  # characters of a message
_FINE = ("ContainerCreating", "PodInitializing")


def observe_pods(pods: Iterable[Mapping[str, Any]]) -> PodObservation | None:
    """Return what the newest of some pods tells; None if there is none."""
    newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)
    if newest is None:
        return None
    status = newest.get("status") or {}
    containers = status.get("containerStatuses") or []
    return PodObservation(
        uid=newest["metadata"]["uid"],
        restarts=sum(int(each.get("restartCount", 0)) for each in containers),
        problem=_unscheduled(status) or _first(_problem(each) for each in containers),
        pending=status.get("phase") == "Pending",
    )


def newest_warning(events: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what the newest of some events says; None if there is none."""
    newest = max(events, key=_when, default=None)
    return None if newest is None else _describe(newest.get("reason"), newest.get("message"))


def _when(event: Mapping[str, Any]) -> str:
    times = (event.get(key) for key in ("lastTimestamp", "eventTime"))
    return next((str(each) for each in times if each), event["metadata"]["creationTimestamp"])


def _first(problems: Iterable[str | None]) -> str | None:
    return next((each for each in problems if each), None)


def _unscheduled(status: Mapping[str, Any]) -> str | None:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _describe(condition.get("reason"), condition.get("message"))
    return None


def _problem(container: Mapping[str, Any]) -> str | None:
    """Return how a container ended last, or else what it waits for."""
    now, last = container.get("state") or {}, container.get("lastState") or {}
    ended = now.get("terminated") or last.get("terminated")
    if ended is not None and ended.get("exitCode") != 0:
        code = f"exit code {ended.get('exitCode')}"
        return _describe(_cause(ended.get("reason"), code), _last_line(ended.get("message")))
    waits = now.get("waiting")
    if waits is not None and waits.get("reason") not in _FINE:
        return _describe(waits.get("reason"), waits.get("message"))
    return None


def _cause(reason: str | None, code: str) -> str:
    return code if reason in (None, "Error") else f"{reason}, {code}"


def _describe(reason: str | None, message: str | None) -> str:
    return ": ".join(part for part in (reason, message) if part)[:_LONGEST]


def _last_line(message: str | None) -> str:
    """Return the last line of a log's end, where a command says what it ended with."""
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    return lines[-1] if lines else ""
