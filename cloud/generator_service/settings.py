"""How a generator is served: what an operator may choose."""

from dataclasses import dataclass
from typing import Literal, get_args

from edgeloop.errors import GeneratorError, choose

Backend = Literal["python", "onnxruntime"]


@dataclass(frozen=True)
class Serving:
    """How Triton runs a generator's two models.

    Attributes:
        backend: "onnxruntime" where the server has that backend, else "python".
        instances: of each model; each has its own copy of the weights.
        gpu: whether they run on the GPU.
        max_batch_size: images a run.
        delay_microseconds: that a request may wait for others to share its run.
        threads: that one run computes with.
        arena: whether onnxruntime keeps the memory it has freed.
        memory_pattern: whether it plans its memory ahead, for each new batch size.
        cache: whether the server answers a repeated request from its cache.
        versions: the newest ones, that are served at once.
    """

    backend: Backend = "python"
    instances: int = 1
    gpu: bool = False
    max_batch_size: int = 64
    delay_microseconds: int = 100
    threads: int = 1
    arena: bool = True
    memory_pattern: bool = False
    cache: bool = True
    versions: int = 2

    def __post_init__(self) -> None:
        """Refuse what no server can run."""
        if self.backend not in get_args(Backend):
            meant = choose(self.backend, get_args(Backend))
            raise GeneratorError("backend", f"there is no {self.backend!r}", meant)
        least = {
            "instances": 1,
            "max_batch_size": 1,
            "delay_microseconds": 0,
            "threads": 1,
            "versions": 1,
        }
        for field, bound in least.items():
            value = getattr(self, field)
            if value < bound:
                raise GeneratorError(field, f"{value} is below {bound}", f"give {bound} or more")
