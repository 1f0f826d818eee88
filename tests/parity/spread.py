"""Measure how far other processors' kernels lead from the recorded numbers.

python -m tests.parity.spread            # minutes; prints the table of docs/simulation.md

Each setting is a process whose libraries are told to use a smaller instruction set, other kernels,
or two threads.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tests.parity import keeping
from tests.parity.cases import CHAOTIC, ON_HAR, ON_IMAGES
from tests.parity.comparing import SKETCHED, Difference, differences, median
from tests.parity.playing import play
from tests.parity.record import ROOT, opened

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "as recorded": {},
    "AVX2": {
        **{"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        **{"MKL_CBWR": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
    },
    "SSE4.1": {
        **{"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
        **{"MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"},
    },
    "no oneDNN": {"PARITY_ONEDNN": "0"},
    "two threads": {"PARITY_THREADS": "2", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
}


def main() -> None:
    """Run the worlds under every setting, or one for the process that asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.spread")
    parser.add_argument("--world", nargs="+", choices=("images", "har"), default=("images", "har"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(records(asked.world[0])))  # noqa: T201
        return
    columns = [f"{what}, r{number}" for number in (1, 3) for what in ("clients", "server", "all")]
    print(" | ".join(["| data", "kernels", *columns, "right answers", "AUC |"]))  # noqa: T201
    print("| --- " * 10 + "|")  # noqa: T201
    for world in asked.world:
        for setting in SETTINGS:
            print(row(world, setting, measured(world, setting)), flush=True)  # noqa: T201


def records(name: str) -> dict[str, Any]:
    """Run the cases of a world as this process is told to compute."""
    torch.set_num_threads(int(os.environ.get("PARITY_THREADS", "1")))
    torch.backends.mkldnn.set_flags(os.environ.get("PARITY_ONEDNN") != "0")
    world = opened(name)
    return {name: play(case, world) for name, case in world.cases.items()}


def measured(world: str, setting: str) -> dict[str, list[Difference]]:
    """Return a setting's differences from the recorded numbers, by case."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.parity.spread", "--one", "--world", world],
        env={**os.environ, **SETTINGS[setting]},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    found, kept = json.loads(run.stdout), keeping.read(world)["cases"]
    cases = {"images": ON_IMAGES, "har": ON_HAR}[world]
    return {
        name: differences(each, kept[name]["rounds"], cases[name].parts)
        for name, each in found.items()
        if name not in CHAOTIC
    }


def row(world: str, setting: str, found: Mapping[str, Sequence[Difference]]) -> str:
    """Return a line of the table: of two rounds the largest medians and the largest difference."""
    cells = [cell for number in (0, 2) for cell in _cells(found, number)]
    counts = max(each.size for case in found.values() for each in case if each.part == "correct")
    area = max(each.size for case in found.values() for each in case if each.part == "auc")
    return " | ".join([f"| {world}", setting, *cells, f"{counts:g}", f"{area:.0e} |"])


def _cells(found: Mapping[str, Sequence[Difference]], number: int) -> list[str]:
    """Return the largest median of a case's weights and uploads, of its broadcast, and any."""
    sizes = {
        (name, part): [each.size for each in case if (each.round, each.part) == (number, part)]
        for name, case in found.items()
        for part in SKETCHED
    }
    own = max(median(each) for (_, part), each in sizes.items() if part != "broadcast")
    shared = max(median(each) for (_, part), each in sizes.items() if part == "broadcast")
    worst, name = max((max(each), name) for (name, _), each in sizes.items() if each)
    return [f"{own:.0e}", f"{shared:.0e}", f"{worst:.0e} ({name})"]


if __name__ == "__main__":
    main()
