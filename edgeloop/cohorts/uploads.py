"""Where a round's uploads are safe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgeloop.protocol import wire


class UploadLog(Protocol):
    """Where uploads are written before the broker is told that they have arrived."""

    def record(self, round_number: int, client: str, digest: str, payload: bytes) -> None:
        """Write an upload; it is safe when this returns. The same one again changes nothing."""
        ...

    def recall(self, round_number: int) -> Mapping[str, bytes]:
        """Return a round's uploads by client, as they were written."""
        ...

    def drop(self, round_number: int, client: str) -> None:
        """Forget an upload, so that its client may send another."""
        ...

    def held(self, round_number: int, client: str) -> str | None:
        """Return the SHA-256 of a client's upload, of a closed round too; None if none."""
        ...


@dataclass
class MemoryLog:
    """An upload log that a crash empties: for tests, and for runs that need not outlive one."""

    uploads: dict[int, dict[str, bytes]] = field(default_factory=dict)

    def record(self, round_number: int, client: str, digest: str, payload: bytes) -> None:
        """Keep an upload."""
        self.uploads.setdefault(round_number, {}).setdefault(client, payload)

    def recall(self, round_number: int) -> Mapping[str, bytes]:
        """Return a round's uploads by client."""
        return dict(self.uploads.get(round_number, {}))

    def drop(self, round_number: int, client: str) -> None:
        """Forget an upload."""
        self.uploads.get(round_number, {}).pop(client, None)

    def held(self, round_number: int, client: str) -> str | None:
        """Return the SHA-256 of a client's upload to a round; None if there is none."""
        payload = self.uploads.get(round_number, {}).get(client)
        return None if payload is None else wire.digest(payload)
