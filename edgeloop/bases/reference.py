"""A reference of a base on a server.

http://HOST:PORT/NAME       the newest version; https, too
    ?version=V              that version
    &sha256=IDENTITY        and no other base than that one
"""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

from edgeloop.errors import ConfigError
from edgeloop.protocol import wire

FORM = "write http://HOST:PORT/NAME?version=V&sha256=IDENTITY; version and sha256 may be left out"
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Remote:
    """A base on a server.

    Attributes:
        root: the server's address, without a slash at its end.
        name: of the base there.
        version: None for the newest.
        sha256: the base's identity; None if it may be any.
    """

    root: str
    name: str
    version: int | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        asked = {"version": self.version, "sha256": self.sha256}
        query = "&".join(f"{key}={value}" for key, value in asked.items() if value is not None)
        return f"{self.root}/{self.name}" + (f"?{query}" if query else "")

    @property
    def key(self) -> str:
        """What stands for it in a folder's name: the same wherever its server is."""
        facts = f"{self.name}/{self.version}/{self.sha256}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]


def is_one(reference: str | None) -> bool:
    """Return whether a reference is one of a base on a server."""
    return reference is not None and reference.lower().startswith(("http://", "https://"))


def parse(reference: str) -> Remote:
    """Read a reference.

    Raises:
        ConfigError: if it is none.
    """
    try:
        parts = urlsplit(reference)
        parameters = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        _ = parts.port  # raises if it is none
    except ValueError as error:
        raise ConfigError("base", f"{reference!r} is no reference ({error})", FORM) from error
    folder, _, name = parts.path.rpartition("/")
    version, sha256 = parameters.pop("version", None), parameters.pop("sha256", None)
    if wrong := _wrong(parts, name, version, sha256, parameters):
        raise ConfigError("base", f"{reference!r} {wrong}", FORM)
    root = f"{parts.scheme.lower()}://{parts.netloc}{folder}"
    return Remote(root, name, None if version is None else int(version), sha256)


def _wrong(
    parts: SplitResult,
    name: str,
    version: str | None,
    sha256: str | None,
    more: dict[str, str],
) -> str | None:
    if not parts.hostname or "@" in parts.netloc or parts.fragment or more:
        return "is no reference" if not more else f"asks for {', '.join(sorted(more))}"
    if parts.scheme.lower() not in ("http", "https"):
        return f"has {parts.scheme!r} where http or https should be"
    if re.fullmatch(wire.NAME.pattern, name) is None:
        return f"has {name!r} where a base's name should be"
    if version is not None and re.fullmatch("[1-9][0-9]{0,6}", version) is None:
        return f"has {version!r} where a version should be"
    if sha256 is not None and DIGEST.fullmatch(sha256) is None:
        return "has a sha256 that is not 64 hexadecimal digits"
    return None
