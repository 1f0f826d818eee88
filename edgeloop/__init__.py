"""Cloud-edge knowledge transfer: one implementation of each algorithm, simulated or deployed."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeloop.remote.client import connect as connect

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
    """Return `__version__`, which the installed distribution says, or `connect`, when asked."""
    if name == "connect":
        from edgeloop.remote.client import connect

        return connect
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("edgeloop")
