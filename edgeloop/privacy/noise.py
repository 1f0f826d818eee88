"""Random numbers that only the holder of a key can foretell, for what must stay private.

A seed of 63 bits can be searched, and the stream behind it can be recovered from its numbers. These
numbers come from SHAKE-128 over a key of any length and what they are for: the same ones wherever
the key is.

Source: FIPS 202 (SHAKE); Box and Muller 1958.
"""

import hashlib
import math

import torch
from torch import Tensor

_BYTES = 8
_BITS = 53  # that a float64 holds


def uniform(key: bytes, purpose: str, count: int) -> Tensor:
    """Return numbers (count,), float64, evenly from (0, 1), on the CPU."""
    stream = hashlib.shake_128(key + b"/" + purpose.encode()).digest(count * _BYTES)
    if not count:
        return torch.zeros(0, dtype=torch.float64)
    words = torch.frombuffer(bytearray(stream), dtype=torch.int64)
    whole = (words >> (64 - _BITS)) & (2**_BITS - 1)
    numbers: Tensor = (whole.double() + 0.5) * 2.0**-_BITS
    return numbers


def normal(key: bytes, purpose: str, count: int) -> Tensor:
    """Return standard normal numbers (count,), float32, on the CPU."""
    pairs = (count + 1) // 2
    first, second = uniform(key, purpose, 2 * pairs).split(pairs) if pairs else 2 * (torch.ones(0),)
    radius, angle = torch.sqrt(-2 * torch.log(first)), 2 * math.pi * second
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count].float()
