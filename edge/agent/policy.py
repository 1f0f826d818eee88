"""When a device may train: in its hours, on mains, cool, on a free network, with room to spare.

A reading that the machine does not have forbids nothing, and the log says so once; nor does one
that cannot be, and it hides no other. Sensors are the kernel's files below a root:
sys/class/power_supply, sys/class/thermal, proc/meminfo, proc/loadavg.
"""

import logging
import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from edge.agent.settings import TrainingPolicy
from edge.agent.windows import next_start
from edgeloop.runtime.pace import Timer

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Between two looks at whether a device that sleeps may train by now."""

_ASK_SECONDS = 5.0
_METERED = ("yes", "yes (guessed)")
_silent: set[str] = set()  # sensors that say nothing, which the log has


@dataclass(frozen=True)
class Permission:
    """What a policy says now.

    Attributes:
        reason: why the device sleeps, and until when, for a person; empty if it need not.
        trains: whether it may train; it may answer without, where it does not sleep.
    """

    reason: str = ""
    trains: bool = True


class Sleep:
    """Whether the device sleeps, and when to look again.

    Args:
        policy: returns the device's, which may change while it runs.
    """

    def __init__(self, policy: Callable[[], TrainingPolicy]) -> None:
        self.reason = ""
        self._policy, self._looks = policy, Timer(LOOK_SECONDS)
        self._looked_by: TrainingPolicy | None = None

    def left(self) -> float:
        """Return the seconds until `due` may be true."""
        if self._is_new():
            return 0.0
        return self._looks.left() if self.reason else float("inf")

    def due(self) -> bool:
        """Return whether a device that sleeps should look again."""
        if self._is_new():
            self._looked_by = self._policy()
            return True
        return bool(self.reason) and self._looks.due()

    def _is_new(self) -> bool:
        """Return whether the device sleeps by another policy than it has now."""
        return bool(self.reason) and self._looked_by != self._policy()

    def look(self) -> bool:
        """Look at what the policy says; return whether the device sleeps."""
        self._looked_by = self._policy()
        reason = permission(self._looked_by).reason
        if reason != self.reason:
            log.info("sleeps: %s", reason) if reason else log.info("sleeps no more")
        self.reason = reason
        return bool(reason)


def permission(policy: TrainingPolicy, now: datetime | None = None) -> Permission:
    """Return what a policy says now.

    Args:
        policy: the device's `[policy]` table.
        now: local time, instead of the clock's.
    """
    if policy == TrainingPolicy():
        return Permission()
    reasons = list(_reasons(policy, now or datetime.now()))
    return Permission("; ".join(reasons), _has_charge(policy))


def _reasons(policy: TrainingPolicy, now: datetime) -> Iterator[str]:
    root = policy.root
    if (start := next_start(policy.windows, now)) is not None:
        yield f"outside its hours, until {start:%a %H:%M}"
    if policy.mains_only and _reading("power supply", partial(on_mains, root)) is False:
        yield "on battery, until it is on mains"
    yield from _above("temperature", partial(temperature, root), policy.max_celsius, "{:.0f} C")
    yield from _above("load", partial(load, root), policy.max_load, "load {:.2f} a processor")
    free = policy.min_free_mb and _reading("memory", partial(free_mb, root))
    if policy.min_free_mb is not None and free is not None and free < policy.min_free_mb:
        yield f"{free:.0f} MB of memory are free, until {policy.min_free_mb:g} are"
    if policy.unmetered_only and _is_metered(policy):
        yield "on a metered network, until it is on another one"


def _above(
    name: str, sensor: Callable[[], float | None], most: float | None, form: str
) -> Iterator[str]:
    value = None if most is None else _reading(name, sensor)
    if most is not None and value is not None and value > most:
        yield f"{form.format(value)}, until it is {most:g} at most"


def _has_charge(policy: TrainingPolicy) -> bool:
    """Return whether there is charge enough to train, or mains."""
    least = policy.min_battery
    if least is None or _reading("power supply", partial(on_mains, policy.root)):
        return True
    charge = _reading("battery", partial(battery, policy.root))
    return charge is None or charge >= least


def _reading(name: str, sensor: Callable[[], float | bool | None]) -> float | bool | None:
    """Return a reading; None of a sensor that is not there."""
    value = None
    with suppress(OSError, ValueError, LookupError):
        value = sensor()
    if value is not None and not math.isfinite(value):
        value = None
    if value is None and name not in _silent:
        _silent.add(name)
        log.warning("the %s cannot be read here: the policy on it forbids nothing", name)
    return value


def on_mains(root: Path) -> bool | None:
    """Return whether a supply other than a battery is connected; None where none is known."""
    kinds = {each: _word(each / "type") for each in _supplies(root)}
    outer = [_word(each / "online") for each, kind in kinds.items() if kind not in ("", "Battery")]
    if known := [word for word in outer if word]:
        return any(word != "0" for word in known)
    states = [_word(each / "status") for each, kind in kinds.items() if kind == "Battery"]
    known = [state for state in states if state]
    return all(state != "Discharging" for state in known) if known else None


def _supplies(root: Path) -> list[Path]:
    """Return the machine's own: the battery of a mouse or a keyboard says nothing of it."""
    found = (root / "sys/class/power_supply").glob("*")
    return [each for each in found if _word(each / "scope") != "Device"]


def battery(root: Path) -> float | None:
    """Return the charge of the fullest battery of the machine's, 0 to 1; None without one."""
    batteries = [each for each in _supplies(root) if _word(each / "type") == "Battery"]
    charges = _within(0, 100, (each / "capacity" for each in batteries))
    return max((each / 100 for each in charges), default=None)


def temperature(root: Path) -> float | None:
    """Return that of the hottest zone, in degrees Celsius; None without one."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    return max((each / 1000 for each in _within(-100_000, 200_000, zones)), default=None)


def _within(least: float, most: float, paths: Iterable[Path]) -> Iterator[float]:
    """Yield the numbers of files that can be so; a sensor that lies hides no other one."""
    for path in paths:
        with suppress(ValueError):
            if least <= (value := float(_word(path))) <= most:
                yield value


def load(root: Path) -> float:
    """Return how many processes want a processor, for each of them, in the last minute."""
    return float(_word(root / "proc/loadavg").split()[0]) / (os.cpu_count() or 1)


def free_mb(root: Path) -> float | None:
    """Return the memory that a process could have, in MB of 10^6 bytes."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024 / 1e6
    return None


def _is_metered(policy: TrainingPolicy) -> bool:
    if isinstance(policy.metered, bool):
        return policy.metered
    return bool(_reading("network's metering", _asked_metered))


def _asked_metered() -> bool | None:
    """Return what NetworkManager says of the connected devices; None without it."""
    program = shutil.which("nmcli")
    if program is None:
        return None
    words = [program, "--terse", "--fields", "GENERAL.STATE,GENERAL.METERED", "device", "show"]
    try:
        done = subprocess.run(  # noqa: S603 - words of our own, and no shell
            words, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True
        )
    except subprocess.SubprocessError as error:
        log.debug("nmcli says nothing: %s", error)
        return None
    devices = [block.splitlines() for block in done.stdout.split("\n\n")]
    up = [lines for lines in devices if any("(connected)" in line for line in lines)]
    said = [line.partition(":")[2] for lines in up for line in lines if "METERED:" in line]
    return any(each in _METERED for each in said) if said else None


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""
