"""This process, had by one run at a time, with torch as a new process has it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

ONE_AT_A_TIME = threading.RLock()
"""Held by a run: torch's random stream, its threads and the names are the process's."""


@contextmanager
def torch_as_it_begins() -> Iterator[None]:
    """Have torch as a new process has it, whatever a notebook's cells have set; then as it was."""
    threads, kind = torch.get_num_threads(), torch.get_default_dtype()
    usual = torch.get_default_device().type == "cpu"  # a context costs each operation something
    try:
        torch.set_default_dtype(torch.float32)
        place = nullcontext() if usual else torch.device("cpu")
        with torch.inference_mode(mode=False), torch.enable_grad(), place:
            yield
    finally:
        torch.set_default_dtype(kind)
        torch.set_num_threads(threads)  # a run takes one: as many change the bits


@contextmanager
def own_process() -> Iterator[None]:
    """Have the process alone, with torch as it begins."""
    with ONE_AT_A_TIME, torch_as_it_begins():
        yield
