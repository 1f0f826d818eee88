"""Which generator and base a task is bound to: versions that are served, for the whole run."""

from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import GROUP, AskedBase, Base, Generator, GeneratorReference


class NotReadyError(Exception):
    """A task waits for what it asks for.

    Args:
        problem: for a person.
        reason: one word; empty for what has no condition of its own.
    """

    def __init__(self, problem: str, reason: str = "") -> None:
        super().__init__(problem)
        self.reason = reason


def resolve_reference(
    asked: GeneratorReference | None,
    settings: OperatorSettings,
    held: str | None,
    generator: Generator | None,
) -> str | None:
    """Return the reference that stands for a task's generator; None if it asks for none.

    Args:
        asked: by the task.
        settings: the operator's, which know where Triton is.
        held: the reference that the task's run began with; None before.
        generator: of the name that is asked for; None if there is none.

    Raises:
        NotReadyError: while a run that has not begun must wait.
    """
    if asked is None or asked.name is None:
        return None if asked is None else asked.reference
    if settings.triton is None:
        raise NotReadyError(f"generator {asked.name}: this operator knows no Triton server")
    version = _version(held) or _served(asked, asked.name, generator)
    return f"triton://{settings.triton}/{asked.name}?version={version}"


def _version(held: str | None) -> str | None:
    return None if held is None else held.partition("?version=")[2] or None


def _served(asked: GeneratorReference, name: str, generator: Generator | None) -> int:
    if generator is None:
        raise NotReadyError(f"generator {name}: there is no such Generator in this namespace")
    key = "version" if asked.channel == "Stable" else "canaryVersion"
    served = generator.status.get(key)
    if served is None:
        channel = asked.channel.lower()
        raise NotReadyError(f"generator {name}: its {channel} version is not served yet")
    return int(served)


def base_of(
    asked: AskedBase | None,
    settings: OperatorSettings,
    namespace: str,
    held: str | None,
    base: Base | None,
) -> str | None:
    """Return the reference that stands for a task's base; None if it asks for none.

    It has the version and the SHA-256 of what is served when the run begins, so that the
    aggregator can fetch no other.

    Args:
        asked: by the task.
        settings: the operator's, which know where a Base's server answers.
        namespace: of the task.
        held: the reference that the task's run began with; None before.
        base: of the name that is asked for; None if there is none.

    Raises:
        NotReadyError: while a run that has not begun must wait.
    """
    if asked is None or asked.name is None:
        return None if asked is None else asked.reference
    url = settings.base_url.format(name=f"{asked.name}-base", namespace=namespace)
    _, _, version = (held or "").partition("?")
    return f"{url}/{asked.name}?{version or _served_base(asked, asked.name, base)}"


def _served_base(asked: AskedBase, name: str, base: Base | None) -> str:
    if base is None:
        problem = f"base {name}: there is no such Base in this namespace"
        raise NotReadyError(f"{problem}; create it, or another task with another one", "NoSuchBase")
    stable = asked.channel == "Stable"
    if not stable and base.spec.canary is None:
        problem = f"base {name}: it has no canary"
        remedy = "give it one, or create another task with channel Stable"
        raise NotReadyError(f"{problem}; {remedy}", "NoCanary")
    keys = ("version", "identity") if stable else ("canaryVersion", "canaryIdentity")
    version, identity = (base.status.get(key) for key in keys)
    if version is None or identity is None:
        why = base.status.get("lastError") or f"see `kubectl get bases.{GROUP} {name} -o wide`"
        problem = f"base {name}: its {asked.channel.lower()} version is not served yet"
        raise NotReadyError(f"{problem}; {why}", "BaseNotServed")
    return f"version={version}&sha256={identity}"
