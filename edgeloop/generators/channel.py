"""How a Triton is spoken to: plain, or by TLS, and with headers that somebody on the way wants.

The environment says so, for the same reference is used by programs in other places.
"""

import os
from pathlib import Path
from typing import Any

from tritonclient._plugin import InferenceServerClientPlugin
from tritonclient.grpc import InferenceServerClient

from edgeloop.errors import ConfigError

CA, CERTIFICATE, KEY = (f"EDGELOOP_TRITON_{name}_FILE" for name in ("CA", "CERTIFICATE", "KEY"))
"""Name PEM files: whom to trust, which has TLS used, and what to show of oneself, if asked."""

HEADERS = "EDGELOOP_TRITON_HEADERS_FILE"
"""Names a file with headers of every request, one a line: `authorization: Bearer ...`."""


def connect(place: str, options: list[tuple[str, Any]] | None = None) -> InferenceServerClient:
    """Return a client of a server.

    Args:
        place: its host and gRPC port.
        options: of the channel, as gRPC has them.

    Raises:
        ConfigError: if a file that the environment names cannot be read, or says something else.
    """
    trusted, shown, key = (_readable(name) for name in (CA, CERTIFICATE, KEY))
    if (shown is None) != (key is None):
        missing = CERTIFICATE if shown is None else KEY
        raise ConfigError(missing, "is not set, and the other one is", "set both, or neither")
    if shown is not None and trusted is None:
        raise ConfigError(CA, "is not set, and a certificate is", "say whom to trust, too")
    client = InferenceServerClient(
        place,
        ssl=trusted is not None,
        root_certificates=trusted,
        certificate_chain=shown,
        private_key=key,
        channel_args=options,
    )
    if headers := _headers():
        client.register_plugin(_Headers(headers))
    return client


class _Headers(InferenceServerClientPlugin):  # type: ignore[misc]  # it has no types
    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: Any) -> None:
        request.headers |= {**self._headers, **request.headers}


def _readable(variable: str) -> str | None:
    path = os.environ.get(variable)
    if path and not os.access(path, os.R_OK):
        raise ConfigError(variable, f"{path} cannot be read", "name a PEM file")
    return path or None


def _headers() -> dict[str, str]:
    path = os.environ.get(HEADERS)
    if not path:
        return {}
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            HEADERS, f"{path} cannot be read ({error})", "name a text file"
        ) from error
    found = [each.partition(":") for each in lines if each.strip()]
    if any(not colon or not name.strip() for name, colon, _ in found):
        raise ConfigError(HEADERS, f"{path} holds no headers", "write lines of `name: value`")
    return {name.strip().lower(): value.strip() for name, _, value in found}  # as gRPC has them
