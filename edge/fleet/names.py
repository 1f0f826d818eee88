"""The names of a fleet's devices: those that a task lists, then some that its patterns admit."""

from collections.abc import Iterator
from itertools import count, islice

from edgeloop.errors import ConfigError
from edgeloop.protocol.task import Contract

_TRIES = 10
"""Times as many names as are asked for; of a pattern that admits fewer it is not looked further."""


def names_of(contract: Contract, devices: int) -> tuple[str, ...]:
    """Return so many names that may take part.

    Raises:
        ConfigError: if the task takes fewer.
    """
    admitted = (name for name in _made(contract, _TRIES * devices) if contract.admits(name))
    found = tuple(islice(dict.fromkeys([*contract.devices, *admitted]), devices))
    if devices > len(found):
        also = f", and admits {', '.join(contract.admit)}" if contract.admit else ""
        problem = f"{devices}, and {contract.task} invites {len(contract.devices)}{also}"
        raise ConfigError("devices", problem, "ask for no more, or invite them")
    return found


def _made(contract: Contract, most: int) -> Iterator[str]:
    for pattern in contract.admit:
        if "*" not in pattern:
            yield from islice(_numbered(pattern), most)
            continue
        before, _, after = pattern.replace("?", "0").partition("*")
        shape = f"{before or 'device-'}{{:05}}{after.replace('*', '')}"
        yield from (shape.format(number) for number in range(most))


def _numbered(pattern: str) -> Iterator[str]:
    """Yield the names that a pattern of a fixed length admits, its `?` as digits."""
    digits = pattern.count("?")
    shape = pattern.replace("?", "{}")
    for number in count() if digits else range(1):
        text = f"{number:0{digits}}" if digits else ""
        if len(text) > digits:
            return
        yield shape.format(*text)
