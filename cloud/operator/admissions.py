"""Asks the authority that devices enrol at whom it admits, and has it invite and revoke them."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import urllib3
from urllib3.exceptions import HTTPError

from cloud.operator.certificates import CERTIFICATE
from cloud.operator.settings import OperatorSettings
from edgeloop.errors import UnavailableError
from edgeloop.runtime.config import first_line

_LARGEST = 64 << 20  # bytes of an answer: a line for each device that was ever admitted
_DONE, _NO_TOKEN = 200, 400
_KEPT = 3.0  # intervals for which an answer is good enough for a look

Known = Mapping[str, "Standing"]
"""A device's standing by what its tasks are called."""


class Standing(NamedTuple):
    """How a device stands at the authority, for one task.

    Attributes:
        admitted: whether it is; else it was, and is revoked.
        since: when it was admitted, or revoked, as the authority writes it.
    """

    admitted: bool
    since: str


@dataclass(frozen=True)
class Invitation:
    """A token that was made for a device.

    Attributes:
        id: by which it is taken back; no secret.
        token: what the device shows.
    """

    id: str
    token: str


class Admissions:
    """An authority's HTTP interface, as an operator uses it; any thread may call.

    All methods raise UnavailableError if it does not answer as one does.

    Args:
        settings: where it is, who signs its certificate, and the file with the operator's token.
        clock: seconds that only grow.
    """

    def __init__(
        self, settings: OperatorSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._clock = settings, clock
        self._asking = threading.Lock()
        self._known: dict[str, dict[str, Standing]] = {}
        self._at: float | None = None

    def of(self, device: str, seconds: float | None = None) -> Known:
        """Return a device's standing, for each task that it was ever admitted to.

        Args:
            device: its name.
            seconds: how old the answer may be; None for what a look may have.
        """
        old = self._settings.interval_seconds * _KEPT if seconds is None else seconds
        with self._asking:  # who waits takes what the first was told
            if self._at is None or self._clock() - self._at > old:
                began = self._clock()
                self._known, self._at = _by_device(self._ask("GET", "/v1/devices")), began
            return dict(self._known.get(device, {}))

    def revoke(self, device: str, task: str) -> None:
        """Revoke a device's certificates for a task, and its right to renew them."""
        self._ask("POST", "/v1/revoke", {"task": task, "name": device})
        self._forget()

    def invite(self, device: str, task: str, hours: float) -> Invitation:
        """Have a token made that admits a device to a task, once."""
        wanted = {"task": task, "names": device, "hours": hours}
        told = self._ask("POST", "/v1/tokens", wanted)
        try:
            return Invitation(str(told["id"]), str(told["token"]))
        except (LookupError, TypeError) as error:
            raise self._wrong(f"makes no token ({error!r})") from error

    def take_back(self, invitation: str) -> None:
        """Take a token back by its id, also if it has admitted its device already, or is none."""
        self._ask("DELETE", f"/v1/tokens/{invitation}", good=(_DONE, _NO_TOKEN))

    def _forget(self) -> None:
        with self._asking:
            self._at = None

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        good: tuple[int, ...] = (_DONE,),
    ) -> Any:
        settings = self._settings
        assert settings.authority_token_file is not None  # noqa: S101 - the settings say so
        assert settings.authority_folder is not None  # noqa: S101
        token = first_line(settings.authority_token_file, "authority_token_file").strip()
        headers = {"Authorization": f"Bearer {token}"}
        try:
            trusted = str(settings.authority_folder / CERTIFICATE)
            with urllib3.PoolManager(ca_certs=trusted, cert_reqs="CERT_REQUIRED") as pool:
                answer = pool.request(
                    method,
                    f"{str(settings.authority_url).rstrip('/')}{path}",
                    headers=headers,
                    json=body,
                    timeout=urllib3.Timeout(total=settings.answer_seconds),
                    retries=False,
                    preload_content=False,
                )
                content = answer.read(_LARGEST)
            told = json.loads(content)
        except (HTTPError, OSError, ValueError) as error:
            raise self._wrong(f"does not answer ({error})") from error
        if answer.status not in good:
            problem = told.get("problem") if isinstance(told, dict) else None
            raise self._wrong(f"answers {answer.status}: {problem or told}"[:300])
        return told

    def _wrong(self, problem: str) -> UnavailableError:
        remedy = "see its log, and the operator's --authority-url and --authority-token-file"
        return UnavailableError(f"authority {self._settings.authority_url}", problem, remedy)


def _by_device(told: Any) -> dict[str, dict[str, Standing]]:
    """Return the authority's list by devices and tasks; what is no device is left out."""
    found: dict[str, dict[str, Standing]] = {}
    for each in told if isinstance(told, list) else ():
        if isinstance(each, dict) and {"task", "name", "admitted", "revoked"} <= each.keys():
            revoked = each["revoked"]
            standing = Standing(revoked is None, str(revoked or each["admitted"]))
            found.setdefault(str(each["name"]), {})[str(each["task"])] = standing
    return found
