"""The bases that a device has fetched, each once: bases/SHA256.onnx in its folder."""

import logging
import re
from pathlib import Path

from edgeloop.bases.manifest import digest
from edgeloop.bases.running import Base
from edgeloop.bases.sending import base_identity
from edgeloop.errors import MisfitError
from edgeloop.protocol.task import Contract
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

MAX_BASES = 3
"""Bases that stay; the one that was used longest ago goes first."""

_IDENTITY = re.compile("[0-9a-f]{64}")


class BaseCache:
    """One device's bases.

    Args:
        folder: the device's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "bases"

    def is_missing(self, contract: Contract) -> bool:
        """Return whether a contract names a base that is not here, or is damaged here.

        Raises:
            MisfitError: if what it names is no base's identity.
        """
        identity = base_identity(contract)
        if identity is None:
            return False
        if not _IDENTITY.fullmatch(identity):
            problem = f"{identity[:70]!r} is no SHA-256"
            raise MisfitError("base_sha256", problem, "start the task with another edgeloop")
        return self._read(identity) is None

    def keep(self, graph: bytes) -> None:
        """Put a base on the base cache.

        Raises:
            RunError: if the folder cannot be written.
        """
        with atomic_files.writing(self._folder.parent):
            self._folder.mkdir(exist_ok=True)
            atomic_files.write(self._path(digest(graph)), graph)
            ages = sorted(self._folder.glob("*.onnx"), key=lambda each: each.stat().st_mtime_ns)
            for old in ages[:-MAX_BASES]:
                old.unlink(missing_ok=True)

    def has(self, identity: str) -> bool:
        """Return whether a base is here, whole."""
        return self._read(identity) is not None

    def forget(self, identity: str) -> None:
        """Keep a base no longer; whoever needs it fetches it again."""
        self._path(identity).unlink(missing_ok=True)

    def base(self, contract: Contract) -> Base:
        """Return the base that a contract names.

        Raises:
            BaseError: if it cannot be run.
            MisfitError: if it is not here, or the contract names none.
        """
        identity = base_identity(contract)
        graph = None if identity is None else self._read(identity)
        if identity is None or graph is None:
            problem = f"{contract.algorithm} needs a base, and there is none"
            raise MisfitError("base_sha256", problem, "start the task again")
        self._path(identity).touch()
        return Base(graph, f"base {identity[:12]}")

    def _path(self, identity: str) -> Path:
        return self._folder / f"{identity}.onnx"

    def _read(self, identity: str) -> bytes | None:
        """Return a base's graph; None if it is not here, or has other bytes by now."""
        try:
            graph = self._path(identity).read_bytes()
        except OSError:
            return None
        if digest(graph) == identity:
            return graph
        log.warning("base %s... is damaged on this device: fetching it again", identity[:12])
        return None
