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
        base: the round that it answers; None for the one that it counts in.
    """

    client: str
    digest: str
    payload: bytes
    base: int | None = None


class UploadLog(Protocol):
    """Where uploads are written before the broker hears that they have arrived."""

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
        """Return the SHA-256 of a client's upload that answers a round; None if none.

        It may count in a later one, and any may be closed.
        """
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
    earlier: dict[tuple[int, str], str] = field(default_factory=dict)  # answers that count later

    def record(self, round_number: int, client: str, digest: str, payload: bytes) -> None:
        """Keep an upload to a round."""
        self.uploads.setdefault(round_number, {}).setdefault(client, payload)

    def record_all(self, round_number: int, uploads: Sequence[Upload]) -> None:
        """Keep uploads."""
        for upload in uploads:
            self.record(round_number, *upload[:3])
            if upload.base is not None and upload.base != round_number:
                self.earlier[upload.base, upload.client] = wire.digest(upload.payload)

    def recall(self, round_number: int) -> Mapping[str, bytes]:
        """Return a round's uploads by client."""
        return dict(self.uploads.get(round_number, {}))

    def drop(self, round_number: int, client: str) -> None:
        """Forget an upload."""
        payload = self.uploads.get(round_number, {}).pop(client, b"")
        gone = wire.digest(payload)
        self.earlier = {key: each for key, each in self.earlier.items() if each != gone}

    def held(self, round_number: int, client: str) -> str | None:
        """Return the SHA-256 of a client's upload that answers a round; None if there is none."""
        payload = self.uploads.get(round_number, {}).get(client)
        digest = None if payload is None else wire.digest(payload)
        own = None if digest in self.earlier.values() else digest
        return self.earlier.get((round_number, client), own)
