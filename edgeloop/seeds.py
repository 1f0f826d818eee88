"""Seeds: each source of randomness has its own, derived from the run's and a path of names."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_DRAWING = threading.RLock()  # a model that is trained may make another


def derive(run_seed: int, *path: str | int) -> int:
    """Return the 63-bit seed of one source of randomness.

    Args:
        run_seed: the run's only seed.
        path: whose randomness it is, for instance ("client", "dev-3", "round", 7).
    """
    text = "/".join([str(run_seed), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def drawing(seed: int, device: "torch.device | None" = None) -> Iterator[None]:
    """Let torch's own initialisations draw from a seed of their own, then put the stream back.

    They know only the process's global stream, so that one thread draws at a time.

    Args:
        seed: of the stream.
        device: a GPU whose stream is to be seeded too: what drops out on it draws from that one.
    """
    import torch  # who only derives seeds needs none

    gpus = [device] if device is not None and device.type == "cuda" else []
    with _DRAWING, torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield
