"""Settings that the cloud has shipped to a device: laid over its file's, the ones before kept.

    settings.shipped.json    what is laid over, and what was before it

What may be set from afar is listed here; all else stays the owner's. A table that does not fit is
refused before anything is written; where the device's file has changed so that it fits no more, the
file alone counts, and the log says so.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge.agent.settings import DeviceSettings
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files
from edgeloop.runtime import config as config_files

log = logging.getLogger(__name__)

FILE = "settings.shipped.json"

ALLOWED: Mapping[str, frozenset[str]] = {
    "model": frozenset({"every_rounds", "int8"}),
    "policy": frozenset(
        {
            "windows",
            "mains_only",
            "max_celsius",
            "unmetered_only",
            "min_free_mb",
            "max_load",
            "min_battery",
        }
    ),
}
"""Keys that may be set from afar, by their tables; `health`, which has no table, besides."""

ALONE = frozenset({"health"})

Table = dict[str, Any]


def applied(settings: DeviceSettings) -> DeviceSettings:
    """Return a device's settings with what was shipped laid over them."""
    table = held(settings.folder).get("table")
    if not table or "settings" not in settings.rollouts.accept:
        return settings
    try:
        return overlaid(settings, table)
    except ConfigError as error:
        log.warning(
            "what was shipped does not fit the file any more, which counts alone: %s", error
        )
        return settings


def overlaid(settings: DeviceSettings, table: Mapping[str, Any]) -> DeviceSettings:
    """Return settings with a table laid over them.

    Raises:
        ConfigError: naming a key that may not be set from afar, or a value that does not fit.
    """
    check(table)
    whole = settings.model_dump()
    for key, value in table.items():
        whole[key] = {**whole[key], **value} if key in ALLOWED else value
    return config_files.parse(whole, DeviceSettings, "settings")


def check(table: Mapping[str, Any]) -> None:
    """Refuse what may not be set from afar.

    Raises:
        ConfigError: naming the key.
    """
    if not table:
        raise ConfigError("settings", "are empty", f"give some of {_named()}")
    for key, value in table.items():
        if key in ALONE:
            continue
        if key not in ALLOWED or not isinstance(value, dict):
            raise ConfigError(f"settings: {key}", "cannot be set from afar", f"give {_named()}")
        if unknown := sorted(value.keys() - ALLOWED[key]):
            problem = f"{key}.{unknown[0]} cannot be set from afar"
            raise ConfigError("settings", problem, f"give {_named()}")


def _named() -> str:
    keys = [f"{table}.{key}" for table, keys in ALLOWED.items() for key in sorted(keys)]
    return ", ".join([*sorted(ALONE), *keys])


def parsed(content: bytes) -> Table:
    """Read what was shipped.

    Raises:
        ConfigError: if it is no table.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError("settings", f"are no JSON ({error})", "ship a table") from error
    if not isinstance(found, dict):
        raise ConfigError("settings", "are no table", "ship a table")
    return found


def held(folder: Path) -> Table:
    """Return what is laid over: `table`, its file's `sha256`, and `previous`; empty for nothing."""
    with suppress(OSError, ValueError, AttributeError):
        found = atomic_files.read_json(folder / FILE)
        return found if isinstance(found.get("table"), dict) else {}
    return {}


def lay_over(folder: Path, sha256: str, table: Mapping[str, Any]) -> None:
    """Have a table laid over the file's; the one before is kept.

    Raises:
        OSError: if the folder cannot be written.
    """
    before = {key: value for key, value in held(folder).items() if key != "previous"}
    content = {"sha256": sha256, "table": dict(table), "previous": before}
    atomic_files.write_checked_json(folder / FILE, content)


def go_back(folder: Path) -> None:
    """Have the table before laid over, or none.

    Raises:
        OSError: if the folder cannot be written.
    """
    before = held(folder).get("previous") or {}
    if before:
        atomic_files.write_checked_json(folder / FILE, {**before, "previous": {}})
    else:
        (folder / FILE).unlink(missing_ok=True)
