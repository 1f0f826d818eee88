"""The recorded numbers as files beside this one, a line for each round of a case."""

import dataclasses
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeloop import algorithms
from tests.parity.cases import Case
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
    }


def hyperparameters(case: Case, world: World) -> dict[str, Any]:
    """Return the fields of the case's Config that it leaves to the defaults and to its variant."""
    given = {**algorithms.variant(case.algorithm, case.variant), **case.options}
    config = algorithms.config(case.algorithm, classes=world.classes, width=world.width, **given)
    facts = {"classes", "width", "shape", "architecture", "seed", "generator_sha256", "latent_dim"}
    fields = dataclasses.asdict(config)
    return {name: value for name, value in fields.items() if name not in facts}
