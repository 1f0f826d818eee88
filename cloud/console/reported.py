"""What an aggregator says over HTTP, as far as the server needs it; older ones say less."""

from datetime import datetime
from pathlib import Path

import urllib3
from pydantic import BaseModel, ConfigDict, ValidationError
from urllib3.exceptions import HTTPError

from edgeloop.errors import EdgeloopError
from edgeloop.runtime.config import first_line

_LARGEST = 64 << 20  # bytes of an answer; a long history and thousand devices are the most of it
_SECONDS = 5.0


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
        self._pool = urllib3.PoolManager(
            timeout=_SECONDS, retries=False, ca_certs=None if ca_file is None else str(ca_file)
        )

    def status(self) -> tuple[Reported, str] | None:
        """Return how far it is, and why it waits, empty if it does not; None while it is away."""
        try:
            reported = Reported.model_validate_json(self._get("/status"))
            readiness = Readiness.model_validate_json(self._get("/readyz"))
        except (HTTPError, ValidationError, EdgeloopError):
            return None
        finally:
            self._pool.clear()  # an aggregator has few connections
        return reported, "; ".join(readiness.reasons)

    def _get(self, path: str) -> bytes:
        headers = {}
        if self._token_file is not None:
            token = first_line(self._token_file, "token_file").strip()
            headers["authorization"] = f"Bearer {token}"
        answer = self._pool.request("GET", self._url + path, headers=headers, preload_content=False)
        try:
            return bytes(answer.read(_LARGEST))
        finally:
            answer.release_conn()
