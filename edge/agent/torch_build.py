"""Which build of torch is installed, and whether it suits the machine; nothing is imported."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgeloop.runtime import modules

CPU_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
"""The one command that brings the build of torch for CPUs; docs/device.md has it, too."""

INSTEAD = f"pip uninstall torch, then {CPU_TORCH}"

GPUS = ("dev/nvidiactl", "dev/nvhost-ctrl", "dev/nvmap", "dev/kfd", "dev/dxg")
"""What the kernel shows where there is a GPU that torch knows."""


def torch_version() -> str:
    """Return the version of torch; empty where none is installed."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def is_for_gpus() -> bool:
    """Return whether the torch that is installed is a build for GPUs."""
    spec = modules.find("torch")
    place = Path(os.fspath(spec.origin)).parent if spec and spec.origin else Path()
    return any((place / "lib").glob("libtorch_cuda*"))


def sees_gpu(root: Path = Path("/")) -> bool:
    """Return whether the kernel shows a GPU that torch knows.

    Args:
        root: of the file system in which it is looked for.
    """
    return any((root / each).exists() for each in GPUS)


def misplaced(root: Path = Path("/")) -> str:
    """Say that torch is a build for GPUs where none is; empty if it is not."""
    if not torch_version() or not is_for_gpus() or sees_gpu(root):
        return ""
    return f"{torch_version()} is the build for GPUs, gigabytes of it, and no GPU is seen here"
