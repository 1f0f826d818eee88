"""Cloud-edge knowledge transfer: one implementation of each algorithm, simulated or deployed."""

import os

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


def __getattr__(name: str) -> str:
    """Return `__version__`, which the installed distribution says; read when somebody asks."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("edgeloop")
