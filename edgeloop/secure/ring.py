"""Numbers as whole numbers modulo 2^64, in which sums are exact, and masks of such numbers.

Shape suffix: V numbers of a vector.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

Ring = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

FRACTION_BITS = 24
"""The fixed-point step is 2^-24."""

_WORD = 8  # bytes
_HALF = 2.0**63


def encode(values_V: Floats, devices: int, bits: int = FRACTION_BITS) -> Ring:
    """Return numbers as multiples of 2^-bits, the nearest ones.

    Args:
        values_V: finite.
        devices: so many such vectors are added at most; their sum must fit.
        bits: of the fraction.

    Raises:
        ValueError: if the sum of so many might not fit.
    """
    scaled = np.rint(values_V * 2.0**bits)
    peak = float(np.abs(scaled).max(initial=0.0))
    if not peak * devices < _HALF:
        raise ValueError(f"{peak / 2.0**bits:g} is too large to be added {devices} times")
    return scaled.astype(np.int64).view(np.uint64)


def decode(total_V: Ring, bits: int = FRACTION_BITS) -> Floats:
    """Return the numbers that a sum of encoded ones stands for."""
    found: Floats = total_V.view(np.int64).astype(np.float64) / 2.0**bits
    return found


def add(vectors: Sequence[Ring]) -> Ring:
    """Return a sum, modulo 2^64."""
    total = np.zeros_like(vectors[0])
    for each in vectors:
        total += each
    return total


def mask(key: bytes, size: int) -> Ring:
    """Return so many numbers of a key's: ChaCha20's stream, which no one tells from random.

    Args:
        key: 32 bytes, for one mask only.
        size: V.
    """
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(stream.update(bytes(_WORD * size)), "<u8").astype(np.uint64)
