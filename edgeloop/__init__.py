"""Cloud-edge knowledge transfer: one implementation of each algorithm, simulated or deployed.

What a person calls is looked up when it is asked for, so that an agent, or a command, imports
nothing of it: `simulate`, `compare`, `Run`, `Scenario`, `load_generator`, `connect`. docs/python.md
shows them.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeloop.remote.client import connect as connect
    from simulations.api import Run as Run
    from simulations.api import Scenario as Scenario
    from simulations.api import compare as compare
    from simulations.api import load_generator as load_generator
    from simulations.api import simulate as simulate

_PLACES = {
    "connect": "edgeloop.remote.client",
    **dict.fromkeys(
        ("Run", "Scenario", "compare", "load_generator", "simulate"), "simulations.api"
    ),
}
"""Where what a person calls is."""

QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime, from 1.29 on
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # diffusers and transformers, too
}
"""What keeps other libraries from sending anything; they read it when they are imported."""

for _name, _value in QUIET.items():
    os.environ.setdefault(_name, _value)

__version__: str


def __getattr__(name: str) -> Any:
    """Return `__version__`, which the installed distribution says, or what a person calls."""
    if name in _PLACES:
        return _called(name)
    if name == "errors":
        return import_module("edgeloop.errors")
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("edgeloop")


def _called(name: str) -> Any:
    """Import what a person calls.

    Raises:
        ImportError: naming the extra, if a package that it needs is not installed.
    """
    try:
        return getattr(import_module(_PLACES[name]), name)
    except ModuleNotFoundError as error:
        extra = "client" if name == "connect" else "sim"
        text = f"edgeloop.{name} needs {error.name}: pip install 'edgeloop[{extra}]'"
        raise ImportError(text, name=error.name) from error


def __dir__() -> list[str]:
    """Return what there is, what a person calls included."""
    return sorted([*globals(), *_PLACES, "__version__"])
