"""What a device's answers have revealed of its data in all runs, and the secret of its noise.

Both are in one file: who removes it forgets what was spent, and has another secret.
"""

import hmac
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgeloop.answers import Release
from edgeloop.errors import RunError
from edgeloop.privacy import accounting
from edgeloop.privacy.accounting import Event
from edgeloop.runtime import atomic_files

SECRET_BYTES = 32


class PrivacyLedger:
    """The device's ledger of privacy, in a file that is always whole.

    Args:
        folder: the device's own, which is there.

    Attributes:
        events: all that was paid for.

    Raises:
        RunError: if the file is damaged, or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "privacy.json"
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._last = ""
        self.events: tuple[Event, ...] = ()
        if self._path.exists():
            self._read()
        else:
            self._write(self.events, self._last)

    def _read(self) -> None:
        try:
            content: dict[str, Any] = atomic_files.read_json(self._path)
            self._secret = bytes.fromhex(content["secret"])
            self._last = str(content["last"])
            self.events = TypeAdapter(tuple[Event, ...]).validate_python(content["events"])
            _check(self._secret, self.events)
        except (OSError, KeyError, TypeError, ValueError, ValidationError) as error:
            problem = f"is damaged ({str(error).partition(chr(10))[0]})"
            remedy = "restore it; without it nobody knows what was spent"
            raise RunError(str(self._path), problem, remedy) from error

    def _write(self, events: tuple[Event, ...], last: str) -> None:
        content = {
            "secret": self._secret.hex(),
            "last": last,
            "events": [asdict(each) for each in events],
        }
        with atomic_files.writing(self._path.parent):
            atomic_files.write_checked_json(self._path, content, mode=0o600)
        self.events, self._last = events, last

    def key(self, purpose: str) -> bytes:
        """Return a key that only this device has.

        Args:
            purpose: what for; the same one for the same.
        """
        return hmac.digest(self._secret, purpose.encode(), "sha256")

    def spend(self, release: Release, delta: float, budget: float | None) -> bool:
        """Pay for a release before it is made; it is paid when this returns.

        The last one again costs nothing: a crash cut it off, and its noise is the same.

        Args:
            release: what training now would let out.
            delta: of the task.
            budget: the largest epsilon; None for no end.

        Returns:
            whether it is paid for; if not, nothing may be trained or sent.
        """
        if release.name == self._last:
            return True
        events = accounting.sum_events(self.events, release.cost)
        if budget is not None and accounting.epsilon(events, delta) > budget:
            return False
        self._write(events, release.name)
        return True


def _check(secret: bytes, events: tuple[Event, ...]) -> None:
    if len(secret) != SECRET_BYTES or not all(map(_can_be, events)):
        raise ValueError("a secret or a mechanism that cannot be")


def _can_be(event: Event) -> bool:
    least, most = 0.1, 10_000.0  # as `PrivacySettings` has them
    return least <= event.noise <= most and 0 <= event.rate <= 1 and 0 < event.times < 2**53
