"""Which served generator a task is bound to: a version of a Generator, for the whole run."""

from cloud.operator.settings import OperatorSettings
from cloud.operator.spec import Asked, Generator


class NotYetError(Exception):
    """A task waits for what it asks for."""


def of(
    asked: Asked | None,
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
        NotYetError: while a run that has not begun must wait.
    """
    if asked is None or asked.name is None:
        return None if asked is None else asked.reference
    if settings.triton is None:
        raise NotYetError(f"generator {asked.name}: this operator knows no Triton server")
    version = _version(held) or _served(asked, asked.name, generator)
    return f"triton://{settings.triton}/{asked.name}?version={version}"


def _version(held: str | None) -> str | None:
    return None if held is None else held.partition("?version=")[2] or None


def _served(asked: Asked, name: str, generator: Generator | None) -> int:
    if generator is None:
        raise NotYetError(f"generator {name}: there is no such Generator in this namespace")
    key = "version" if asked.channel == "Stable" else "canaryVersion"
    served = generator.status.get(key)
    if served is None:
        channel = asked.channel.lower()
        raise NotYetError(f"generator {name}: its {channel} version is not served yet")
    return int(served)
