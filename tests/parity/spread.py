"""Measure how far other processors' kernels lead from the recorded numbers.

python -m tests.parity.spread            # a few minutes; prints the tables of docs/simulation.md

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
from tests.parity.cases import ON_HAR, ON_IMAGES
from tests.parity.comparing import Difference, differences
from tests.parity.playing import play
from tests.parity.record import ROOT, opened

AVX2 = {
    **{"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    **{"MKL_CBWR": "AVX2", "OPENBLAS_CORETYPE": "Haswell"},
}
OLDEST = {
    **{"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    **{"MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Nehalem"},
}
SETTINGS: Mapping[str, Mapping[str, str]] = {
    "as recorded": {},
    "torch's AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "torch's default": {"ATEN_CPU_CAPABILITY": "default"},
    "oneDNN's AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "oneDNN's SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "MKL's AVX2": {"MKL_CBWR": "AVX2"},
    "MKL's compatible": {"MKL_CBWR": "COMPATIBLE"},
    "OpenBLAS's Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "OpenBLAS's Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "all of AVX2": AVX2,
    "all of the oldest": OLDEST,
    "without oneDNN": {"PARITY_NO_ONEDNN": "1"},
    "two threads": {"PARITY_THREADS": "2", "OMP_NUM_THREADS": "2"},
    "two threads, all of AVX2": {**AVX2, "PARITY_THREADS": "2", "OMP_NUM_THREADS": "2"},
}


def main() -> None:
    """Run a world under every setting, or print one run's records for the process that asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.spread")
    parser.add_argument("--world", nargs="+", choices=("images", "har"), default=("images", "har"))
    parser.add_argument("--only", nargs="+", help="cases; all of them if left out")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(records(asked.world[0], asked.only)))  # noqa: T201
        return
    for world in asked.world:
        found = {name: measured(world, name, asked.only) for name in SETTINGS}
        for line in table(found):
            print(line)  # noqa: T201


def records(name: str, only: Sequence[str] | None) -> dict[str, Any]:
    """Run the cases of a world as this process is told to compute."""
    torch.set_num_threads(int(os.environ.get("PARITY_THREADS", "1")))
    world = opened(name)
    with torch.backends.mkldnn.flags(enabled="PARITY_NO_ONEDNN" not in os.environ):
        return {name: play(world.cases[name], world) for name in only or world.cases}


def measured(world: str, setting: str, only: Sequence[str] | None) -> dict[str, list[Difference]]:
    """Return a setting's differences from the recorded numbers, by case."""
    command = [sys.executable, "-m", "tests.parity.spread", "--one", "--world", world]
    run = subprocess.run(  # noqa: S603
        [*command, *(["--only", *only] if only else [])],
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
    }


def table(found: Mapping[str, Mapping[str, Sequence[Difference]]]) -> list[str]:
    lines = []
    for name in next(iter(found.values())):
        for setting, each in found.items():
            ds = each[name]

            def m(parts, rounds):
                return max((d.size for d in ds if d.part in parts and d.round in rounds), default=0)

            sk = ("weights", "uploads", "broadcast")
            lines.append(
                f"{name:24}{setting:26} first {m(('first',), (0,)):.1e} "
                + " ".join(f"{m(sk, (r,)):.1e}" for r in range(3))
                + f" correct {[m(('correct',), (r,)) for r in range(4)]} auc {m(('auc',), range(4)):.1e} "
                + str(max((d for d in ds if d.part in sk), key=lambda d: d.size)[:3])
            )
    return lines


if __name__ == "__main__":
    main()
