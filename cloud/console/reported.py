"""What an aggregator says over HTTP, as far as the server needs it; older ones say less."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import urllib3
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from urllib3.exceptions import HTTPError

from edgeloop.errors import EdgeloopError, UnavailableError
from edgeloop.runtime.config import first_line
from edgeloop.runtime.pace import Timer

_LARGEST = 64 << 20  # bytes of an answer; a long history and thousand devices are the most of it
_SECONDS = 5.0

ALL_SECONDS = 30.0
"""Between two times that all devices of a large task are asked for."""
MOST_DEVICES = 100_000
_NUMBERS = TypeAdapter(list[int])


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ReportedRound(_Part):
    """A closed round; what an aggregator was not told, or has forgotten, is None."""

    number: int
    participants: int
    accuracy: float | None = None
    seconds: float = 0.0
    low: float | None = None
    median: float | None = None
    high: float | None = None
    alone: float | None = None
    bytes_up: int | None = None
    bytes_down: int | None = None
    measures: Mapping[str, float] | None = None


class ReportedDevice(_Part):
    """A device."""

    name: str
    state: str
    round: int | None = None
    seconds: float | None = None
    reason: str = ""
    version: str = ""
    answered: bool | None = None
    accuracy: float | None = None
    received: int = 0
    last_answer: datetime | None = None
    alone: float | None = None


class ReportedRefusal(_Part):
    """An answer that was not taken; `serial` is the same whenever it is told again."""

    serial: str
    device: str
    round: int
    verdict: str
    reason: str
    at: datetime


class Reported(_Part):
    """How far a run is."""

    task: str
    run: str
    algorithm: str
    phase: str
    round: int
    rounds: int
    accuracy: float | None = None
    history: tuple[ReportedRound, ...] = ()
    devices: tuple[ReportedDevice, ...] = ()
    devices_left_out: int = 0
    refusals: tuple[ReportedRefusal, ...] = ()
    evicted: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


class _Devices(_Part):
    items: tuple[ReportedDevice, ...]
    next: str | None = None


class Readiness(_Part):
    """Why no round can continue."""

    reasons: tuple[str, ...] = ()


class Aggregator:
    """An aggregator's HTTP interface.

    Args:
        url: of it.
        token_file: with a viewer's token on its first line; None where none is needed.
        ca_file: whose certificate it may show, PEM; None for this machine's own list.
    """

    def __init__(
        self, url: str, token_file: Path | None = None, ca_file: Path | None = None
    ) -> None:
        self._url, self._token_file = url.rstrip("/"), token_file
        self._every = Timer(ALL_SECONDS, first=0.0)
        self._pool = urllib3.PoolManager(
            timeout=_SECONDS, retries=False, ca_certs=None if ca_file is None else str(ca_file)
        )

    def status(self) -> tuple[Reported, str] | None:
        """Return how far it is, and why it waits, empty if it does not; None while it is away."""
        try:
            reported = Reported.model_validate_json(self._get("/status"))
            reported = self._all_devices(reported)
            readiness = Readiness.model_validate_json(self._get("/readyz"))
        except (HTTPError, ValidationError, EdgeloopError):
            return None
        finally:
            self._pool.clear()  # an aggregator has few connections
        return reported, "; ".join(readiness.reasons)

    def history(self) -> list[int]:
        """Return the rounds of which the aggregator keeps what was exchanged; none of an older one.

        Raises:
            UnavailableError: if it does not answer.
        """
        try:
            return _NUMBERS.validate_json(self._whole("/history"))
        except ValidationError:
            return []

    def round_file(self, number: int) -> bytes:
        """Return a round's file; empty if it is not kept.

        Raises:
            UnavailableError: if the aggregator does not answer.
        """
        return self._whole(f"/history/{number}")

    def _whole(self, path: str) -> bytes:
        """Return an answer; empty if it is none with a content."""
        try:
            return self._get(path, least=False)
        except (HTTPError, EdgeloopError) as error:
            problem = f"does not answer ({type(error).__name__})"
            raise UnavailableError(self._url, problem, "look at its aggregator") from error
        finally:
            self._pool.clear()

    def _all_devices(self, reported: Reported) -> Reported:
        """Return a status with all devices, now and then: most looks do with the first ones."""
        if not reported.devices_left_out or not self._every.due():
            return reported
        found: list[ReportedDevice] = []
        after: str | None = ""
        while after is not None and len(found) < MOST_DEVICES:
            path = "/devices?" + urlencode({"after": after})
            part = _Devices.model_validate_json(self._get(path))
            found += part.items
            after = part.next
        return reported.model_copy(update={"devices": tuple(found), "devices_left_out": 0})

    def _get(self, path: str, *, least: bool = True) -> bytes:
        """Return an answer's body; with `least` whatever its code, else empty if it is no 200."""
        headers = {}
        if self._token_file is not None:
            token = first_line(self._token_file, "token_file").strip()
            headers["authorization"] = f"Bearer {token}"
        answer = self._pool.request("GET", self._url + path, headers=headers, preload_content=False)
        try:
            return bytes(answer.read(_LARGEST)) if least or answer.status == 200 else b""
        finally:
            answer.release_conn()
