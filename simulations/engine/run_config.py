"""What decides a run's results, and where it ran: the content of its folder's run.json."""

import platform
from importlib.metadata import version
from typing import Any

from edgeloop.data import Federation
from simulations.engine.run_plan import Plan


def config(plan: Plan, federation: Federation) -> dict[str, Any]:
    """Return all that decides a run's results, and where it ran."""
    asked = plan.settings.model_dump(mode="json")
    if asked["mix"] == "never":
        del asked["mix"]  # as before there was any
    if asked["replay"] is None:
        del asked["replay"]
    return {
        **asked,
        "clients": len(plan.models),
        "hyperparameters": plan.hyperparameters(),
        "partition_fingerprint": federation.fingerprint(),
        "models_by_client": dict(plan.models),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes a run."""
    return {
        **{name: version(name) for name in ("edgeloop", "torch", "numpy")},
        "python": platform.python_version(),
    }
