"""Where and how a client computes: the device, the memory layout, the precision of products."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

from edgeloop.errors import ConfigError, UnavailableError
from edgeloop.models.split import SplitModel

Layout = Literal["channels-last", "contiguous"]
Precision = Literal["float32", "bfloat16"]

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "could not create a memory")
"""In what torch's allocators, C++ and oneDNN say where there is no memory left."""


@dataclass(frozen=True)
class Compute:
    """How a client's model computes.

    Attributes:
        device: as torch names it.
        layout: of images and of convolutions' weights; "channels-last" is faster for most CNNs
            (benchmarks/choices.py), and another layout sums in another order.
        precision: that the model multiplies in; losses, prototypes and weights stay float32.
        idle: where a model waits for its next turn: on the "device", or in the "host"'s memory.
    """

    device: str = "cpu"
    layout: Layout = "channels-last"
    precision: Precision = "float32"
    idle: Literal["device", "host"] = "device"

    @property
    def idle_device(self) -> torch.device:
        """The device of a model between its turns."""
        return torch.device("cpu" if self.idle == "host" else self.device)

    def format(self, dimensions: int) -> torch.memory_format:
        """Return the memory format of a tensor with so many dimensions."""
        images = dimensions == 4 and self.layout == "channels-last"
        return torch.channels_last if images else torch.contiguous_format

    def place(self, model: SplitModel) -> SplitModel:
        """Put a model where it rests, in the layout and with the precision that it computes in."""
        model.precision = torch.bfloat16 if self.precision == "bfloat16" else None
        model.to(device=self.idle_device, memory_format=self.format(4))  # type: ignore[call-overload]  # torch's overloads miss this pair
        return model


def usable_device(name: str) -> torch.device:
    """Return the device that torch knows by this name.

    Raises:
        ConfigError: if torch knows none, or this machine has none.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        problem = f"{name!r} cannot be used here ({reason})"
        raise ConfigError("device", problem, "use cpu, or cuda where there is one") from error
    return device


@contextmanager
def enough_memory(device: str) -> Iterator[None]:
    """Say it in one sentence if what is done within needs more memory than there is.

    Args:
        device: that computes.

    Raises:
        UnavailableError: naming the device, how much was asked for, and what to lower.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0] or "no more is given to this process"
        raise UnavailableError(
            f"memory of {device}", f"is used up ({reason})", _memory_remedy(device)
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(each in str(error) for each in OUT_OF_MEMORY)


def _memory_remedy(device: str) -> str:
    if device == "cpu":
        return "use fewer workers, smaller batches, fewer samples or a smaller model"
    return "use idle host, cohort plain, precision bfloat16, smaller batches or a smaller model"
