"""Devices that an authority has revoked take no more part in a run, whatever the broker lets in."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloud.aggregator import leaving
from cloud.aggregator.settings import TaskSettings
from cloud.aggregator.trust import get, refresh, tls
from edgeloop.errors import UnavailableError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.repeating import Repeated

log = logging.getLogger(__name__)

LOOK_SECONDS = 20.0
"""Between two looks at who was revoked."""


@contextmanager
def heeded(settings: TaskSettings) -> Iterator[None]:
    """Evict who is revoked while a block runs; nothing where the task names no authority.

    Raises:
        ConfigError: if the certificates that are shown to the authority cannot be used.
    """
    if settings.authority is None:
        yield
        return
    revocations = Revocations(settings, settings.authority)
    with Repeated(LOOK_SECONDS, revocations.look, first=True):
        yield


class Revocations:
    """Who was revoked, and is told to the run.

    Args:
        settings: the task's; its broker's certificates are shown to the authority, too.
        server: the authority's URL.

    Raises:
        ConfigError: if the certificates cannot be used.
    """

    def __init__(self, settings: TaskSettings, server: str) -> None:
        self._settings, self._server = settings, server
        self._done: set[str] = set()
        tls(settings.broker)  # what is wrong with the files is said at the start

    def look(self) -> None:
        """Evict who was revoked since the last look; whom the aggregator did not hear of, again.

        Raises:
            EdgeloopError: if the authority or the broker does not answer.
        """
        refresh(self._settings)
        for device in sorted(self._revoked() - self._done):
            if leaving.ask_to_evict(self._settings, device):
                log.warning("%s was revoked, and takes no more part", device)
                self._done.add(device)

    def _revoked(self) -> set[str]:
        """Return the devices of the task that are revoked now."""
        task, cohort = self._settings.name, self._settings.cohort
        found = [each for each in self._ask() if isinstance(each, dict)]
        names = {str(each.get("name")) for each in found if _is_revoked(each, task)}
        return {name for name in names if cohort.invites(name)}

    def _ask(self) -> list[Any]:
        try:
            told = atomic_files.parse_json(get(self._settings.broker, self._server, "/v1/devices"))
        except UnavailableError:
            raise
        except ValueError:
            told = None
        if not isinstance(told, list):
            problem = "does not say who is revoked"
            raise UnavailableError(self._server, problem, "check authority")
        return told


def _is_revoked(device: dict[str, Any], task: str) -> bool:
    return device.get("task") == task and device.get("revoked") is not None
