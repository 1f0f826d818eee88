"""How a generator is served: what its user may choose."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edgeloop.runtime.config import Option, Port, Settings

Backend = Literal["python", "onnxruntime"]
Whole = Annotated[int, Field(ge=1)]


class Serving(Settings):
    """How Triton runs a generator's two models."""

    backend: Annotated[Backend, Option(unsaid=True)] = "python"
    """Backend: onnxruntime where the server has it (NVIDIA's image), else python."""
    instances: Whole = 1
    """Instances of each model."""
    gpu: Annotated[bool, Option(name="--gpu/--cpu")] = False
    """Device on which the models run."""
    max_batch_size: Whole = 64
    """Largest batch, in images."""
    delay_microseconds: Annotated[int, Field(ge=0)] = 100
    """Microseconds to wait for more requests of a batch."""
    threads: Whole = 1
    """Threads of one inference."""
    arena: bool = True
    """Keep freed memory, as large as the largest run was."""
    memory_pattern: Annotated[bool, Option(name="--memory-pattern/--no-memory-pattern")] = False
    """Plan memory ahead, for each new batch size."""
    cache: bool = True
    """Answer repeated requests from the server's cache."""
    versions: Whole = 2
    """Number of versions served at once, the newest."""


class ServedModels(Serving):
    """A generator's models in a repository."""

    name: str | None = None
    """Name on the server. [default: the generator's]"""
    version: Whole = 1
    """Version to write, beside the existing ones."""


class ServerSettings(ServedModels):
    """A Triton of one's own, with one generator."""

    repository: Path | None = None
    """Folder for the models; kept. By default, not kept."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    http_port: Port = 8000
    """Port for HTTP health checks."""
    grpc_port: Port = 8001
    """Port for gRPC clients."""
    metrics_port: Port = 8002
    """Port for Prometheus metrics."""
    home: Path | None = None
    """The tritonserver's folder; else $EDGELOOP_TRITON, else the cache's."""
    log: Path = Path("tritonserver.log")
    """Log file of the server."""
