"""This machine's battery, processors and temperature, as far as it has sensors for them."""

import psutil

from edgeloop.health import Health


def reading() -> Health:
    """Read all that there is; the processors' share is that since the reading before."""
    return Health(_battery(), psutil.cpu_percent() / 100, _temperature())


def _battery() -> float | None:
    found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return None if found is None else found.percent / 100


def _temperature() -> float | None:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    found = [each.current for group in sensors.values() for each in group]
    return max(found, default=None)
