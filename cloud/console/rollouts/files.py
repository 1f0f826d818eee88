"""Files that are rolled out: `files/SHA256` in the server's folder."""

import json
import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeloop.bases.running import Base
from edgeloop.errors import BaseError, ConfigError
from edgeloop.protocol.rollout import Kind, digest_of
from edgeloop.remote.rollouts import File
from edgeloop.runtime import atomic_files, onnx_graphs

KEPT_SECONDS = 86_400.0
"""After its last use a file stays so long without a roll-out that needs it."""


class Files:
    """The files of one server.

    Args:
        folder: the server's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "files"

    def keep(self, content: bytes) -> File:
        """Keep a file; one that is here stays as it is.

        Raises:
            ConfigError: if it is empty.
            RunError: if it cannot be written.
        """
        if not content:
            raise ConfigError("body", "is empty", "send the file's bytes")
        found = File(sha256=digest_of(content), size=len(content))
        if self._read(found.sha256) is None:
            with atomic_files.writing(self._folder.parent):
                self._folder.mkdir(exist_ok=True, mode=0o700)
                atomic_files.write(self._folder / found.sha256, content, 0o600)
        os.utime(self._folder / found.sha256)
        return found

    def content(self, sha256: str) -> bytes:
        """Return a file's bytes.

        Raises:
            ConfigError: if it is not here, or damaged.
        """
        found = self._read(sha256)
        with suppress(OSError):
            os.utime(self._folder / sha256)  # or it might be swept before it is used
        if found is None:
            remedy = "give it to the server first: POST /api/v1/files"
            raise ConfigError("sha256", f"{sha256[:12]}... is no file here", remedy)
        return found

    def sweep(self, needed: Collection[str], now: float | None = None) -> list[str]:
        """Remove files that are not needed, a day after their last use; return which.

        Args:
            needed: SHA-256 of those that stay.
            now: seconds since 1970; None for the time that it is.
        """
        removed = []
        before = (time.time() if now is None else now) - KEPT_SECONDS
        with suppress(OSError):  # nothing has been given yet, or it goes as this looks
            for path in self._folder.iterdir():
                if path.name not in needed and path.stat().st_mtime < before:
                    path.unlink()
                    removed.append(path.name)
        return removed

    def _read(self, sha256: str) -> bytes | None:
        try:
            found = (self._folder / sha256).read_bytes()
        except OSError:
            return None
        return found if digest_of(found) == sha256 else None


def of_settings(table: Mapping[str, Any] | None) -> bytes:
    """Return a table of settings as the file that is shipped: the same bytes for the same table.

    Raises:
        ConfigError: if it has numbers that JSON has not.
    """
    try:
        text = json.dumps(table, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise ConfigError("settings", f"are no JSON ({error})", "give finite numbers") from error
    return text.encode()


def check(kind: Kind, content: bytes) -> None:
    """Refuse what no device could use.

    Raises:
        ConfigError: what is wrong with it.
    """
    try:
        if kind == "base":
            Base(content, "base")
        elif kind == "model":
            onnx_graphs.check(content)
    except (BaseError, ValueError) as error:
        problem = error.problem if isinstance(error, BaseError) else str(error)
        raise ConfigError("sha256", f"is no {kind}: {problem}", "give another file") from error
