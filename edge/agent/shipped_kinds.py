"""What a device does with each kind of thing that is shipped to it: has it, and goes back."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from edge.agent import settings_from_afar as afar
from edge.agent.base_store import BaseCache
from edge.agent.current_model import CurrentModel
from edge.agent.deployment import SHA256
from edge.agent.reloading import Reloading
from edge.agent.settings import DeviceSettings
from edge.agent.standing import Standing
from edge.agent.task_session import DeviceContext
from edgeloop.bases.running import Base
from edgeloop.errors import ConfigError, ModelError
from edgeloop.protocol.rollout import Kind

UNDONE = "the roll-out was rolled back"


class Shipped(Protocol):
    """One kind of thing."""

    def holds(self, sha256: str) -> bool:
        """Return whether it is in use here already."""

    def apply(self, sha256: str, content: bytes) -> None:
        """Have it, whole or not at all.

        Raises:
            EdgeloopError: why it cannot be used; what was before stays.
            OSError: if the folder cannot be written.
        """

    def undo(self, sha256: str) -> None:
        """Go back to what was before; nothing if it is not in use; errors as above."""

    def taken_out(self, sha256: str) -> str:
        """Return why the device itself has taken it out of use since; empty if it has not."""


class ShippedModel:
    """The classifier in use.

    Args:
        model: of the device.
        standing: knows the samples, once there is a task.
    """

    def __init__(self, model: CurrentModel, standing: Standing) -> None:
        self._model, self._standing = model, standing

    def holds(self, sha256: str) -> bool:
        """Return whether it is in use."""
        problem = self._model.deployment.settle()
        return not problem and self._in_use() == sha256

    def apply(self, sha256: str, content: bytes) -> None:
        """Put it into use, past the device's own gate."""
        session = self._standing.session
        if session is not None:
            self._standing.store.keep_previous_model(session.contract.run)
        self._model.put_shipped(content, None if session is None else session.share)

    def undo(self, sha256: str) -> None:
        """Go back to the one before."""
        if self.holds(sha256) and not self._model.take_out(UNDONE):
            raise ModelError("model", "there is none to go back to", "ship another one")

    def taken_out(self, sha256: str) -> str:
        """Return why it was taken out of use: by the canary, or by hand."""
        is_last = False
        why = ""
        for event in self._events():
            if is_last and event.get("did") == "rolled back":
                why = str(event.get("why") or "somebody asked for it")
            if event.get("did") in ("accepted", "rolled back"):
                is_last = event.get(SHA256) == sha256
                why = "" if is_last else why
        return why

    def _in_use(self) -> Any:
        return self._model.deployment.record().get("in_use", {}).get(SHA256)

    def _events(self) -> Iterator[Mapping[str, Any]]:
        yield from self._model.deployment.record().get("events", ())


class ShippedBase:
    """A base, which a task to come names.

    Args:
        cache: the device's bases.
    """

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def holds(self, sha256: str) -> bool:
        """Return whether it is here, whole."""
        return self._cache.has(sha256)

    def apply(self, sha256: str, content: bytes) -> None:
        """Keep it, if it can be run."""
        Base(content, f"base {sha256[:12]}")
        self._cache.keep(content)

    def undo(self, sha256: str) -> None:
        """Keep it no longer: who needs it fetches it again."""
        self._cache.forget(sha256)

    def taken_out(self, sha256: str) -> str:
        """Return nothing: one that is not used any more is in nobody's way."""
        return ""


class ShippedSettings:
    """Settings that are laid over the device's file.

    Args:
        context: whose settings they change.
        reloading: takes them while the agent runs; None where nothing reads the file again.
    """

    def __init__(self, context: DeviceContext, reloading: Reloading | None) -> None:
        self._context, self._reloading = context, reloading
        self._folder = context.settings.folder

    def holds(self, sha256: str) -> bool:
        """Return whether they are laid over."""
        return afar.held(self._folder).get("sha256") == sha256

    def apply(self, sha256: str, content: bytes) -> None:
        """Lay them over, if all of them may be set from afar, and fit."""
        table = afar.parsed(content)
        wanted = afar.overlaid(self._context.settings, table)
        afar.lay_over(self._folder, sha256, table)
        self._take(lambda: wanted)
        if not all(_alike(wanted, self._context.settings, key, table[key]) for key in table):
            afar.go_back(self._folder)
            problem = "do not fit the device's file as it is now"
            raise ConfigError("settings", problem, "see the device's log")

    def undo(self, sha256: str) -> None:
        """Lay those before over the file again, or none."""
        if self.holds(sha256):
            afar.go_back(self._folder)
            self._take(lambda: self._context.settings)

    def taken_out(self, sha256: str) -> str:
        """Return nothing: they stay until others come."""
        return ""

    def _take(self, otherwise: Callable[[], Any]) -> None:
        if self._reloading is None:
            self._context.settings = otherwise()
            return
        self._reloading.ask()
        self._reloading.look()


def _alike(wanted: DeviceSettings, taken: DeviceSettings, key: str, value: object) -> bool:
    one, other = getattr(wanted, key), getattr(taken, key)
    if not isinstance(value, dict):
        return bool(one == other)
    return all(getattr(one, name) == getattr(other, name) for name in value)


def kinds_of(
    context: DeviceContext,
    standing: Standing,
    model: CurrentModel,
    reloading: Reloading | None,
) -> dict[Kind, Shipped]:
    """Return what a device does with each kind of thing."""
    return {
        "model": ShippedModel(model, standing),
        "base": ShippedBase(context.base_cache),
        "settings": ShippedSettings(context, reloading),
    }
