"""Seconds a round for one and two workers, as processes and on a Ray cluster of this machine.

`python -m benchmarks.cluster`. One way follows another in one run; their last broadcasts' digests
must be equal, or it ends with an error.
"""

import statistics
import tempfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import environment
from benchmarks.har import BenchmarkRun
from edgeloop.cli import console
from edgeloop.protocol import wire
from simulations.engine import run_plan
from simulations.settings import RunSettings

COLUMNS = ("clients compute", "workers", "seconds a round", "of one process", "state's SHA-256")
PLACES = {"in processes": None, "on a Ray cluster": "local"}


def main(
    algorithm: Annotated[str, typer.Option(help="Its name.")] = "fedproto",
    data: Annotated[str, typer.Option(help="Undivided.")] = "fashion-sample",
    clients: Annotated[int, typer.Option(min=2, help="How many.")] = 100,
    samples: Annotated[int, typer.Option(min=10, help="To divide.")] = 6000,
    rounds: Annotated[int, typer.Option(min=1, help="To measure, after one to warm up.")] = 5,
) -> None:
    """Time rounds of one algorithm by where its clients compute."""
    rows = measure(
        {
            **{"algorithm": algorithm, "data": data, "clients": clients, "samples": samples},
            **{"partition": "iid", "robust": "none"},
        },
        rounds,
    )
    unit = rows[0]["seconds"]
    cells = [
        (
            *(row["place"], str(row["workers"]), f"{row['seconds']:.2f}"),
            *(f"{row['seconds'] / unit:.2f}", row["state"][:12]),
        )
        for row in rows
    ]
    title = f"{algorithm}, {clients} clients: medians of {rounds} rounds"
    console.table(title, COLUMNS, cells)
    content = {"machine": environment.machine(), "rounds": rounds, "rows": rows}
    text = f"{title}\n\n{environment.markdown(COLUMNS, cells)}\n"
    environment.write("cluster", content, text)
    if len({row["state"] for row in rows}) > 1:
        raise SystemExit("the states differ")


def measure(settings: dict[str, Any], rounds: int) -> list[dict[str, Any]]:
    """Return each way's median seconds of a round, and its last broadcast's digest.

    One cluster at a time: the ways on it follow one another.
    """
    return [
        _measured(
            RunSettings.model_validate({**settings, "workers": workers, "cluster": place}), rounds
        )
        | {"place": name, "workers": workers}
        for (name, place), workers in product(PLACES.items(), (1, 2))
    ]


def _measured(settings: RunSettings, rounds: int) -> dict[str, Any]:
    federation = settings.federation()
    plan = run_plan.Plan(settings, federation, settings.open_generator())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = BenchmarkRun(plan, federation, stack, folder)
        for _ in range(rounds + 1):
            run.round()
        return {
            "seconds": statistics.median(each.wall for each in run.seconds[1:]),
            "state": wire.fingerprint(run.broadcast),
        }


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "cluster"))
