"""Reads a device's file again on SIGHUP: what can change while the agent runs is taken at once."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge.agent.settings import DeviceSettings
from edge.agent.task_session import DeviceContext
from edgeloop.errors import EdgeloopError

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks at whether the file is to be read again, where nothing else happens."""

CHANGEABLE = ("health", "stay", "policy", "model", "privacy", "training")
"""Tables and keys that are taken while the agent runs; the last two count from the next run on."""


class Reloading:
    """Takes a device's file again when it is asked to.

    Args:
        context: whose settings are replaced.
        read: reads the file as it was read at the start.
    """

    def __init__(self, context: DeviceContext, read: Callable[[], DeviceSettings]) -> None:
        self._context, self._read, self._asked = context, read, False

    @contextmanager
    def on_hangup(self) -> Iterator[None]:
        """Be asked by SIGHUP until the block ends."""
        before = signal.signal(signal.SIGHUP, lambda number, frame: self.ask())
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def ask(self) -> None:
        """Have the file read again at the next look."""
        self._asked = True

    def look(self) -> None:
        """Read the file again if that was asked; a bad one changes nothing, and the log says so."""
        if not self._asked:
            return
        self._asked = False
        try:
            new = self._read()
        except EdgeloopError as error:
            log.warning("the settings stay as they were: %s", error)
            return
        old = self._context.settings
        changed = [key for key in DeviceSettings.model_fields if _of(old, key) != _of(new, key)]
        taken = [key for key in changed if key in CHANGEABLE]
        waiting = [key for key in changed if key not in CHANGEABLE]
        updates = {key: getattr(new, key) for key in taken}
        self._context.settings = old.model_copy(update=updates)
        log.info(
            "read the settings again: %s", _named(taken) or "nothing that can change has changed"
        )
        if waiting:
            log.warning("changed, but used only after the agent is restarted: %s", _named(waiting))


def _of(settings: DeviceSettings, key: str) -> object:
    return getattr(settings, key)


def _named(keys: list[str]) -> str:
    return ", ".join(keys)
