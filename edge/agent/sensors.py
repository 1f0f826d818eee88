"""This machine's battery, processors and temperature, as far as it has sensors for them."""

import logging
from collections.abc import Callable

import psutil

from edgeloop.protocol.device_health import Health

log = logging.getLogger(__name__)

# What psutil raises where a kernel or a container shows a sensor otherwise, or not at all.
_NOT_KNOWN = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    psutil.Error,
)
_silent: set[str] = set()  # sensors that say nothing, which the log has


def read_health() -> Health:
    """Read all that there is; the processors' share is that since the reading before."""
    return Health(_read(_battery), _read(_processors), _read(_temperature))


def _read(sensor: Callable[[], float | None]) -> float | None:
    """Return a reading; None of a sensor that is not there, or does not work."""
    try:
        return sensor()
    except _NOT_KNOWN as error:
        name = sensor.__name__.removeprefix("_")
        if name not in _silent:
            _silent.add(name)
            log.info("the %s cannot be read here (%s)", name, error)
        return None


def _battery() -> float | None:
    found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    return None if found is None else float(found.percent) / 100


def _processors() -> float:
    return psutil.cpu_percent() / 100


def _temperature() -> float | None:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    found = [float(each.current) for group in sensors.values() for each in group]
    return max(found, default=None)
