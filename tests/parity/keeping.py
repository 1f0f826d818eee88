"""The recorded numbers as files beside this one, a line for each round of a case."""

import dataclasses
import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop import algorithms
from tests.parity.cases import CLIENTS, SERVERS, Case
from tests.parity.worlds import World

DIGITS = 9


def path(world: str) -> Path:
    """Return the file of a world's numbers."""
    return Path(__file__).parent / f"{world}.json"


def read(world: str) -> dict[str, Any]:
    """Return what is recorded of a world."""
    found: dict[str, Any] = json.loads(path(world).read_text())
    return found


def write(world: str, content: Mapping[str, Any]) -> None:
    """Write what is recorded of a world."""
    cases = ",\n".join(
        f"{json.dumps(name)}: {_case(each)}" for name, each in content["cases"].items()
    )
    head = {key: value for key, value in content.items() if key != "cases"}
    text = json.dumps(head, indent=1)[:-2] + f',\n"cases": {{\n{cases}\n}}\n}}\n'
    path(world).write_text(text)


def _case(case: Mapping[str, Any]) -> str:
    rounds = ",\n".join(
        json.dumps(_rounded(each), separators=(",", ":")) for each in case["rounds"]
    )
    head = {key: value for key, value in case.items() if key != "rounds"}
    return json.dumps(head)[:-1] + f', "rounds": [\n{rounds}]}}'


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def machine() -> dict[str, str]:
    """Return what the numbers were computed by."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "processor": f"{platform.machine()}, {capability}",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "kernels": kernels(),
    }


def kernels() -> str:
    """Return what tells how this process rounds: the digest of a small network's step.

    Of equal digests convolutions, products and factorisations are the same to the bit.
    """
    net = nn.Sequential(nn.Conv2d(1, 32, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    net.extend([nn.Linear(1152, 64), nn.ReLU(), nn.Linear(64, 10)])
    for parameter in net.parameters():
        parameter.data.copy_(waves(parameter.shape) / parameter[0].numel() ** 0.5)
    loss = F.cross_entropy(net(waves((10, 1, 16, 16))), torch.arange(10))
    steps = torch.autograd.grad(loss, list(net.parameters()))
    square = waves((64, 64)).numpy()
    arrays = [*(step.numpy() for step in steps), square @ square, np.linalg.svd(square)[1]]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def waves(shape: Sequence[int]) -> Tensor:
    """Return the same numbers in [-1, 1] on every machine."""
    count = math.prod(shape)
    return torch.tensor([math.cos(n * n) for n in range(count)]).reshape(tuple(shape))


def hyperparameters(case: Case, world: World) -> dict[str, Any]:
    """Return the fields of the case's Config that neither world nor generator decides."""
    config = algorithms.config(
        case.algorithm, classes=world.classes, width=world.width, **case.options
    )
    facts = {"classes", "width", "shape", "architecture", "seed", "generator_sha256", "latent_dim"}
    if case.algorithm in CLIENTS:
        facts.update(SERVERS)
    fields = dataclasses.asdict(config)
    return {name: value for name, value in fields.items() if name not in facts}
