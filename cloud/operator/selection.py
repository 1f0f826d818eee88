"""Which devices a selector stands for: those that it finds as a run begins, to the run's end."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cloud.operator.references import NotReadyError
from cloud.operator.spec import Device, Requirement, Selector, Task
from edgeloop.protocol.admission import may_join

LARGEST = 2048
"""Devices of a task; the CRD has the same bound for those that are named."""

_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Selection:
    """The devices of a task with a selector.

    Attributes:
        devices: that its run invites, sorted.
        drift: what the selector would find by now instead; empty if the same.
    """

    devices: tuple[str, ...]
    drift: str = ""


def finds(selector: Selector, device: Device) -> bool:
    """Return whether a selector finds a device, as an API server's would."""
    labels = device.metadata.labels
    wanted = selector.match_labels.items() <= labels.items()
    return wanted and all(_holds(each, labels) for each in selector.match_expressions)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    label = labels.get(requirement.key)
    return {
        "In": label in requirement.values,
        "NotIn": label not in requirement.values,
        "Exists": label is not None,
        "DoesNotExist": label is None,
    }[requirement.operator]


def names(devices: Iterable[Device]) -> tuple[str, ...]:
    """Return the names of the devices that may be invited, each once, sorted."""
    return tuple(sorted({each.name for each in devices if each.is_live}))


def invites(task: Task, device: str) -> bool:
    """Return whether a task names a device, has found it by its selector, or would admit it."""
    cohort, found = task.spec.cohort, task.status.get("cohort", {}).get("devices", ())
    return device in cohort.devices or device in found or may_join(device, cohort.admit)


def sent_away(
    task: Task, devices: Iterable[Device], unreadable: Iterable[Device] = ()
) -> tuple[str, ...]:
    """Return the devices that a task goes on without: their Devices were suspended or deleted.

    It is for good: who was sent away before stays so, whatever becomes of the Device.

    Args:
        task: with the status from before.
        devices: of its namespace.
        unreadable: others, of which only the names are known: theirs are not sent away.
    """
    known = tuple(devices)
    left = {each.name for each in known} - set(names((*known, *unreadable)))
    away = {each for each in left if invites(task, each)}
    return tuple(sorted(away.union(task.status.get("evicted", ()))))


def initial_devices(found: tuple[str, ...], task: Task) -> Selection:
    """Return what a task's run begins with: what its selector has found.

    Raises:
        NotReadyError: if these devices cannot be a cohort.
    """
    if not found:
        remedy = "label some, or create another task"
        raise NotReadyError(f"cohort.selector finds no Device that is not suspended; {remedy}")
    if len(found) > LARGEST:
        problem = f"cohort.selector finds {len(found)} devices, more than {LARGEST}"
        raise NotReadyError(f"{problem}; create a task with a narrower one")
    if short := too_few_problem(task.inviting(found)):
        raise NotReadyError(f"{short}, or label more")
    return Selection(found)


def too_few_problem(task: Task) -> str | None:
    """Return what is wrong if a task's devices can never be its quorum."""
    cohort = task.spec.cohort
    for name, least in (("quorum", cohort.quorum), ("buffer", cohort.buffer)):
        if least is not None and not cohort.admit and least > len(cohort.devices):
            return f"cohort.{name} is {least}, of {len(cohort.devices)} devices; lower it"
    return None


def compare_selection(devices: Iterable[str], found: Collection[str]) -> Selection:
    """Return what a run that has begun continues with, and what its selector would find by now."""
    known = tuple(devices)
    joined, left = sorted(set(found) - set(known)), sorted(set(known) - set(found))
    news = [f"also {_few(joined)}"] if joined else []
    news += [f"no more {_few(left)}"] if left else []
    return Selection(known, " and ".join(news))


def _few(devices: list[str]) -> str:
    rest = len(devices) - _SHOWN
    return ", ".join(devices[:_SHOWN]) + (f" and {rest} others" if rest > 0 else "")
