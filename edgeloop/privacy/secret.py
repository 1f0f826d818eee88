"""What the noise of a private client is made from; it needs no torch."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeloop.runtime.config import PrivacySettings


@dataclass(frozen=True)
class NoiseSecret:
    """What noise is made from; in a simulation of the run's seed, on a device of its own secret.

    Attributes:
        privacy: how much noise.
        key: of any length; who has it can take the noise away.
    """

    privacy: PrivacySettings
    key: bytes

    def derive_key(self, *facts: str | int) -> bytes:
        """Return the key of one release: the same for the same facts only."""
        return hmac.digest(self.key, json.dumps(facts).encode(), "sha256")


def digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return the SHA-256 of arrays and their names, hexadecimal."""
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
