"""Where a served generator is: what a `triton://` reference says."""

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from edgeloop.errors import GeneratorError


@dataclass(frozen=True)
class Address:
    """What a reference says.

    Attributes:
        reference: as its user wrote it.
        place: host and port.
        name: of the generator there.
        version: that is wanted; None for the newest.
    """

    reference: str
    place: str
    name: str
    version: int | None

    @property
    def mapping(self) -> str:
        """The model that gives latents."""
        return f"{self.name}-mapping"

    @property
    def synthesis(self) -> str:
        """The model that gives images."""
        return f"{self.name}-synthesis"


def read(reference: str) -> Address:
    """Read a reference.

    Raises:
        GeneratorError: naming the part that is missing or wrong.
    """
    parts = urlsplit(reference)
    wanted = parse_qs(parts.query, keep_blank_values=True)
    name, versions = parts.path.strip("/"), wanted.pop("version", [])
    try:
        port = parts.port
    except ValueError:
        port = None
    checks = {
        "scheme": parts.scheme == "triton",
        "host": bool(parts.hostname),
        "port": bool(port),
        "name": bool(name) and "/" not in name,
        "version": not versions or (versions[-1].isdecimal() and int(versions[-1]) > 0),
        "query": not wanted,
    }
    for part, good in checks.items():
        if not good:
            remedy = "write triton://HOST:PORT/NAME or triton://HOST:PORT/NAME?version=2"
            raise GeneratorError(f"{part} of {reference!r}", "is missing or wrong", remedy)
    return Address(reference, parts.netloc, name, int(versions[-1]) if versions else None)
