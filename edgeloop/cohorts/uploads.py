"""Where a round's uploads are safe."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edgeloop.protocol import wire


class Upload(NamedTuple):
    """An upload as it is written.

    Attributes:
        client: whose it is.
        digest: what makes two deliveries of one upload the same.
        payload: its bytes.
    """

    client: str
    digest: str
    payload: bytes


class UploadLog(Protocol):
    """Where uploads are written before the broker is told that they have arrived."""

    def record_all(self, round_number: int, uploads: Sequence[Upload]) -> None:
        """Write uploads to one round, each of another client; all are safe when this returns.

        The same one again changes nothing.
        """
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


class SharedLog(Protocol):
    """Uploads to the open round that other processes write."""

    def begin(self, round_number: int) -> None:
        """Have a round take uploads."""
        ...

    def arrived(self, round_number: int, known: Collection[str], most: int) -> Mapping[str, bytes]:
        """Return further uploads to a round by client, at most so many, but those of `known`."""
        ...

    def end(self, round_number: int) -> None:
        """Have a round take no more uploads; those that have a receipt are there then."""
        ...


@dataclass
class MemoryLog:
    """An upload log that a crash empties: for tests, and for runs that need not outlive one."""

    uploads: dict[int, dict[str, bytes]] = field(default_factory=dict)

    def record(self, round_number: int, client: str, digest: str, payload: bytes) -> None:
        """Keep an upload."""
        self.uploads.setdefault(round_number, {}).setdefault(client, payload)

    def record_all(self, round_number: int, uploads: Sequence[Upload]) -> None:
        """Keep uploads."""
        for upload in uploads:
            self.record(round_number, *upload)

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
