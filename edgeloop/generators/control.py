"""The secret that a Triton asks of whoever controls it: loads, unloads and lists models."""

import os
import secrets
from pathlib import Path

from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files

VARIABLE = "EDGELOOP_TRITON_SECRET_FILE"
"""Names the file with a server's secret."""

HEADER = "edgeloop-control"
"""That holds the secret in an HTTP request."""

RESTRICTED = ("model-repository", "shared-memory", "statistics", "trace", "logging")
"""What needs the secret; inference, health, metadata and the models' configuration do not."""


def restriction_flags(secret: str) -> list[str]:
    """Return the flags that shut a tritonserver."""
    rule = f"{','.join(RESTRICTED)}:{HEADER}={secret}"
    return [f"--http-restricted-api={rule}", f"--grpc-restricted-protocol={rule}"]


def headers(secret: str | None) -> dict[str, str]:
    """Return what a gRPC request shows; nothing without a secret."""
    return {f"triton-grpc-protocol-{HEADER}": secret} if secret else {}


def read_secret(path: Path | None = None) -> str | None:
    """Return the secret in a file, else in the one that the environment names, if it names one.

    Raises:
        ConfigError: if the file is not there, or holds no secret.
    """
    named = path or os.environ.get(VARIABLE)
    return _read(Path(named)) if named else None


def read_or_create_secret(path: Path) -> str:
    """Return the secret in a file; make both, for this user alone, if there is none.

    Raises:
        ConfigError: if the file can be neither read nor written, or holds no secret.
    """
    if path.exists():
        return _read(path)
    secret = secrets.token_hex(32)
    try:
        atomic_files.write(path, f"{secret}\n".encode(), 0o600)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise ConfigError(str(path), problem, "name another file for the secret") from error
    return secret


def _read(path: Path) -> str:
    try:
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"holds no secret of a Triton that can be read ({error})"
        raise ConfigError(str(path), problem, f"fix the file, or {VARIABLE}") from error
    if not secret.isalnum():
        remedy = "write letters and digits, as `openssl rand -hex 32` does"
        raise ConfigError(str(path), "holds no secret of letters and digits", remedy)
    return secret
