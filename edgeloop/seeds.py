"""Seeds: each source of randomness has its own, derived from the run's and a path of names."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_DRAWING = threading.Lock()


def derive(run_seed: int, *path: str | int) -> int:
    """Return the 63-bit seed of one source of randomness.

    Args:
        run_seed: the run's only seed.
        path: whose randomness it is, for instance ("client", "dev-3", "round", 7).
    """
    text = "/".join([str(run_seed), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Let torch's own initialisations draw from a seed of their own, then put the stream back.

    They know only the process's global stream, so that one thread draws at a time.
    """
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
