"""A step of plain SGD is torch.optim.SGD's, and needs none of torch's compiler."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from edgeloop.training.sgd import clear_gradients, descend

ROOT = Path(__file__).parents[2]
TRAINS = """
import sys
import numpy as np
from edgeloop import algorithms, models
from edgeloop.client import Client
from edgeloop.data import ClientData, Samples
shape = (9, 1, 128)
some = Samples(np.zeros((20, *shape), np.float32), np.arange(20) % 3)
algorithm = algorithms.load("fedproto", classes=3, width=16)
model = models.build("harcnn-s1", shape, 3, 16)
client = Client("one", algorithm, model, ClientData(some, some), batch_size=10, seed=0)
client.choose_threads(1)
assert client.answer(0, algorithm.start()[1]).upload is not None
print(sorted({"torch._dynamo", "sympy", "onnx", "onnxruntime"} & set(sys.modules)))
"""


def test_it_is_the_optimisers_step_to_the_bit() -> None:
    random = torch.Generator().manual_seed(3)
    ours = [torch.randn(7, 5, generator=random), torch.randn(11, generator=random)]
    theirs = [each.clone() for each in ours]
    optimizer = torch.optim.SGD(theirs, lr=0.037)
    for _ in range(5):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=random)
            other.grad = mine.grad.clone()
        descend(ours, 0.037)
        optimizer.step()
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))


def test_what_has_no_gradient_stays() -> None:
    one, other = torch.ones(2), torch.ones(2)
    one.grad = torch.ones(2)
    descend([one, other], 0.5)
    assert (one.tolist(), other.tolist()) == ([0.5, 0.5], [1, 1])
    clear_gradients([one, other])
    assert one.grad is None


def test_a_round_imports_neither_the_compiler_nor_what_only_an_export_needs() -> None:
    found = subprocess.run(
        [sys.executable, "-c", TRAINS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("[]\n", "")
