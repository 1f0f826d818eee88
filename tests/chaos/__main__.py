"""`make chaos FAULTS=1000 SEED=1`: real processes, and faults drawn by a seed."""

import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks import environment
from edgeloop.cli import console
from tests import postgres
from tests.chaos import machine
from tests.chaos.episodes import Chaos, DisturbedError, Tally
from tests.chaos.supervised import EndedError


def chaos(
    faults: Annotated[int, typer.Option(min=1, help="How many faults are to strike.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the faults: the same ones again.")] = 0,
    database: Annotated[
        Literal["sqlite", "postgresql"], typer.Option(help="PostgreSQL for every other run.")
    ] = "sqlite",
    folder: Annotated[
        Path | None, typer.Option(help="Folder for logs and files; a temporary one if not given.")
    ] = None,
    record: Annotated[
        str | None, typer.Option(help="Name of a record to write in benchmarks/results.")
    ] = None,
) -> None:
    """Disturb a task with faults; end with what differs, or with `identical`."""
    place = folder or Path(tempfile.mkdtemp(prefix="edgeloop-chaos-"))
    for kind, why in machine.unable().items():
        console.note(f"without {kind}: {why}")
    with ExitStack() as stack:
        server = stack.enter_context(postgres.running()) if database == "postgresql" else None
        begun = time.monotonic()
        run = Chaos(
            place,
            seed,
            faults,
            lambda text: console.note(f"{time.monotonic() - begun:6.0f} s  {text}"),
            database=server,
        )
        try:
            line = run.run()
        except (DisturbedError, EndedError) as error:
            console.say(f"differs: {error}\nlogs: {place}; the same faults: --seed {seed}")
            raise typer.Exit(1) from error
    if record is not None:
        write_record(record, line, run.tally, database)
    if folder is None:
        shutil.rmtree(place)
    console.say(line)


def write_record(name: str, line: str, tally: Tally, database: str) -> None:
    """Write what was done into benchmarks/results."""
    machine_facts = environment.machine()
    rows = sorted([kind, str(times)] for kind, times in tally.faults.items())
    endings = sorted([code, str(times)] for code, times in tally.endings.items())
    about = ", ".join(f"{key} {value}" for key, value in machine_facts.items())
    left_out = machine.unable()
    content = {
        "machine": machine_facts,
        "result": line,
        "database": database,
        "faults": dict(sorted(tally.faults.items())),
        "endings": dict(sorted(tally.endings.items())),
        "left_out": left_out,
    }
    tables = [
        environment.markdown(("fault", "times"), rows),
        environment.markdown(("ended by itself with", "times"), endings),
    ]
    text = f"`{line}`\n\n{tables[0]}\n{tables[1]}\n{about}\n"
    environment.write(name, content, text)


if __name__ == "__main__":
    sys.exit(environment.run(chaos, "chaos"))
