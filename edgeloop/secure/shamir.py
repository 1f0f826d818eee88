"""Shamir's secret sharing: any so many shares make a secret, fewer say nothing of it.

Shamir, Communications of the ACM 1979. The field is that of the prime 2^521 - 1, which holds any
secret of 64 bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

PRIME = 2**521 - 1
SHARE_BYTES = 66
MOST_BYTES = 64
"""Of a secret."""

Draw = Callable[[int], bytes]
"""So many random bytes."""


def split(secret: bytes, threshold: int, points: Sequence[int], draw: Draw) -> dict[int, bytes]:
    """Return a share for each point.

    Args:
        secret: at most 64 bytes.
        threshold: so many shares make it.
        points: distinct, from 1 on.
        draw: of the polynomial.

    Raises:
        ValueError: if the secret is too long, or there are too few points, or one is no point.
    """
    if len(secret) > MOST_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes, and {MOST_BYTES} are the most")
    if not 1 <= threshold <= len(set(points)) or len(set(points)) != len(points):
        raise ValueError(f"{threshold} of {len(points)} shares cannot be asked for")
    if min(points) < 1:
        raise ValueError("a point below 1")
    terms = [int.from_bytes(secret, "big"), *(_element(draw) for _ in range(threshold - 1))]
    return {point: _value(terms, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes], size: int) -> bytes:
    """Return the secret of so many bytes that shares make, at least as many as were asked for.

    Raises:
        ValueError: if they make none of that size.
    """
    points = sorted(shares)
    weights = _weights(tuple(points))
    total = sum(
        weight * int.from_bytes(shares[point], "big")
        for point, weight in zip(points, weights, strict=True)
    )
    try:
        return (total % PRIME).to_bytes(size, "big")
    except OverflowError as error:
        raise ValueError("shares that make no secret") from error


def _element(draw: Draw) -> int:
    """Return a random element of the field: 2^-100 from uniform, of 128 bytes."""
    return int.from_bytes(draw(128), "big") % PRIME


def _value(terms: Sequence[int], point: int) -> int:
    found = 0
    for term in reversed(terms):
        found = (found * point + term) % PRIME
    return found


@lru_cache(maxsize=8)
def _weights(points: tuple[int, ...]) -> Sequence[int]:
    """Return Lagrange's weights of points, for the value at 0; all secrets of a round need them."""
    found = []
    for point in points:
        above, below = 1, 1
        for other in points:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        found.append(above * pow(below, -1, PRIME) % PRIME)
    return found
