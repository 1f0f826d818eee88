"""Random bytes that are the same for a seed."""

import hashlib
import itertools
from collections.abc import Callable

from edgeloop.secure.shamir import Draw


def draws(seed: int) -> Callable[[str], Draw]:
    """Return each device's random bytes."""

    def of(name: str) -> Draw:
        calls = itertools.count()
        return lambda size: hashlib.shake_128(f"{seed} {name} {next(calls)}".encode()).digest(size)

    return of
