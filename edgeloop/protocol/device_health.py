"""How a device is: what it may tell in its report; all of it may be missing.

Up to 0.1 it came in notes, the user properties of an answer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

BOUNDS: Mapping[str, tuple[float, float]] = {
    "battery_ratio": (0.0, 1.0),
    "cpu_ratio": (0.0, 1.0),
    "temperature_celsius": (-100.0, 300.0),
}
"""What is believed of a reading; beyond is a broken sensor."""


@dataclass(frozen=True)
class Health:
    """Readings of a device; None where it has no such sensor.

    Attributes:
        battery_ratio: charge of the battery, 0 to 1.
        cpu_ratio: share of all processors' time in use since the reading before, 0 to 1.
        temperature_celsius: of the hottest sensor.
    """

    battery_ratio: float | None = None
    cpu_ratio: float | None = None
    temperature_celsius: float | None = None

    def plausible(self) -> "Health":
        """Return the readings that can be; None for the others."""
        known = ((name, getattr(self, name)) for name in BOUNDS)
        return Health(**{name: _believed(value, *BOUNDS[name]) for name, value in known})

    def notes(self) -> dict[str, str]:
        """Return what is known, as a message's notes."""
        known = {name: getattr(self, name) for name in BOUNDS}
        return {name: f"{value:.3f}" for name, value in known.items() if value is not None}


def parse_health(notes: Mapping[str, str]) -> Health:
    """Return what a message's notes tell; a reading that cannot be is None."""
    return Health(**{name: _reading(notes.get(name, ""), *BOUNDS[name]) for name in BOUNDS})


def _reading(text: str, lowest: float, highest: float) -> float | None:
    try:
        value = float(text[:32])
    except ValueError:
        return None
    return _believed(value, lowest, highest)


def _believed(value: float | None, lowest: float, highest: float) -> float | None:
    if value is None:
        return None
    return value if math.isfinite(value) and lowest <= value <= highest else None
