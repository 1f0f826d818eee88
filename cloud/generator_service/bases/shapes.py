"""The shape of one input, as people write it."""

from edgeloop.errors import ConfigError


def parse_shape(text: str) -> tuple[int, ...]:
    """Read a shape such as 3x32x32; of a table's rows the number of columns.

    Raises:
        ConfigError: if it is none.
    """
    sides = text.lower().replace(",", "x").split("x")
    known = all(each.strip().isdecimal() and 0 < int(each) <= 65_536 for each in sides)
    if not known or len(sides) > 3:
        raise ConfigError("--shape", f"{text!r} is no shape", "write channels x height x width")
    return tuple(int(each) for each in sides)
