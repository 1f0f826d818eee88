"""Devices that an authority has revoked take no more part in a run, whatever the broker lets in."""

import http.client
import json
import logging
import ssl
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cloud.aggregator import leaving
from cloud.aggregator.settings import TaskSettings
from edgeloop.errors import ConfigError, UnavailableError
from edgeloop.runtime.repeating import Repeated

log = logging.getLogger(__name__)

LOOK_SECONDS = 20.0
"""Between two looks at who was revoked."""

ANSWER_SECONDS = 10.0
MOST_ANSWER = 64 * 2**20


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
        self._context()  # what is wrong with the files is said at the start

    def look(self) -> None:
        """Evict who was revoked since the last look; whom the aggregator did not hear of, again.

        Raises:
            EdgeloopError: if the authority or the broker does not answer.
        """
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
        place = urllib.parse.urlsplit(self._server)
        connection = http.client.HTTPSConnection(
            str(place.hostname), place.port or 443, timeout=ANSWER_SECONDS, context=self._context()
        )
        try:
            connection.request("GET", "/v1/devices")
            answer = connection.getresponse()
            content = answer.read(MOST_ANSWER)
            told = json.loads(content) if answer.status == 200 else answer.status
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = f"does not answer ({error})"
            raise UnavailableError(self._server, problem, "check authority") from error
        finally:
            connection.close()
        if not isinstance(told, list):
            problem = f"does not say who is revoked ({told})"
            raise UnavailableError(self._server, problem, "check this task's certificate")
        return told

    def _context(self) -> ssl.SSLContext:
        """Return TLS with what the files hold now."""
        broker = self._settings.broker
        try:
            context = ssl.create_default_context(cafile=str(broker.ca_file))
            if broker.certificate_file is not None and broker.key_file is not None:
                context.load_cert_chain(broker.certificate_file, broker.key_file, password="")
        except OSError as error:
            field = "broker.ca_file, broker.certificate_file, broker.key_file"
            raise ConfigError(field, f"cannot be used ({error})", "give PEM files") from error
        return context


def _is_revoked(device: dict[str, Any], task: str) -> bool:
    return device.get("task") == task and device.get("revoked") is not None
