"""What decides a run's results, and where it ran: the content of its folder's run.json."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeloop.data import Federation
from edgeloop.runtime import atomic_files
from simulations.engine.own_definitions import definitions
from simulations.engine.run_plan import Plan
from simulations.results.folder import IDENTITY
from simulations.settings import RunSettings


def config(plan: Plan, federation: Federation) -> dict[str, Any]:
    """Return all that decides a run's results, and where it ran."""
    return {
        **plan.asked,
        **definitions(plan.asked, plan.clients.models),
        "clients": len(plan.clients.models),
        "hyperparameters": plan.clients.hyperparameters(),
        "partition_fingerprint": federation.fingerprint(),
        "models_by_client": dict(plan.clients.models),
        "versions": versions(),
    }


def as_begun(settings: RunSettings, folder: Path) -> RunSettings:
    """Return the settings that a run goes on with: without a rule, if it was begun before any."""
    held = folder / IDENTITY
    if settings.robust != "auto" or not held.is_file():
        return settings
    try:
        known = "robust" in atomic_files.read_json(held)
    except (OSError, TypeError, ValueError):  # `claim` says what is wrong with it
        return settings
    return settings if known else settings.model_copy(update={"robust": "none"})


def versions() -> dict[str, str]:
    """Return the versions of what computes a run."""
    return {
        **{name: version(name) for name in ("edgeloop", "torch", "numpy")},
        "python": platform.python_version(),
    }
