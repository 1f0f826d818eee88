"""`edgeloop.Scenario`: a table of runs, a paper's or one's own."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from edgeloop.errors import ConfigError
from edgeloop.runtime import config
from simulations.api.own_process import own_process
from simulations.api.progress import progress as showing
from simulations.api.run import Run
from simulations.engine.batch import run_all
from simulations.reproduce import command, ready
from simulations.reproduce import scenario as scenarios
from simulations.reproduce.scenario import Cell, Scale, Trial


class Scenario:
    """A table of runs: rows, mostly algorithms, by columns, mostly data.

    Args:
        source: a name that `edgeloop reproduce --list` shows, a TOML file, or the same as a table.

    Raises:
        ConfigError: if there is none, or a key or a value is wrong.
    """

    def __init__(self, source: str | Path | Mapping[str, Any]) -> None:
        if isinstance(source, Mapping):
            found = config.parse(dict(source), scenarios.Scenario, "scenario")
            self.table = scenarios.check_scenario(found, "scenario")
        else:
            self.table = scenarios.load(str(source))

    @staticmethod
    def names() -> list[str]:
        """Return the names of the papers' tables."""
        return scenarios.names()

    def cells(self, scale: Scale | None = None) -> dict[tuple[str, str], dict[str, Any]]:
        """Return each cell's settings, by row and column; at the smallest scale if none is given.

        Raises:
            ConfigError: if there is no such scale.
        """
        plan = self.table.plan(scale or scenarios.smallest(self.table))
        return {tuple(cell): table for cell, table in plan.cells().items()}  # type: ignore[misc]  # of two

    def run(  # noqa: PLR0913 - keywords but one: the command's options
        self,
        out: str | Path,
        *,
        scale: Scale | None = None,
        only: Mapping[str, str] | None = None,
        seeds: int | None = None,
        rounds: int | None = None,
        data: str | Path | None = None,
        workers: int = 1,
        progress: bool = True,
    ) -> dict[tuple[str, str], list[Run]]:
        """Run the table, or what of it is not in the folder yet; return each cell's runs, by seed.

        Args:
            out: the folder; a run of a trial is a folder in `runs`.
            scale: cpu or paper; the smallest if not given.
            only: the cells to run: {"row": "FedTGP"}, {"algorithm": "fedtgp"}.
            seeds: trials; the scenario's if not given.
            rounds: instead of the scenario's.
            data: the folder of the data sets.
            workers: runs at a time; 1 runs them in this process, and more than one need a script
                with a guarded main part.
            progress: whether to show it.

        Raises:
            InputError: if the data, a setting or the folder is wrong.
        """
        _check_counts(seeds=seeds, rounds=rounds, workers=workers)
        plan = self.table.plan(scale or scenarios.smallest(self.table)).only(only or {})
        plan = plan._replace(seeds=seeds or plan.seeds)
        changes = {"rounds": rounds} if rounds else {}
        cells = {cell: {**table, **changes} for cell, table in plan.cells().items()}
        place = None if data is None else Path(data)
        ready.check_data((str(table["data"]) for table in cells.values()), place)
        jobs = command.jobs_of(plan, cells, place, Path(out).expanduser())
        done: list[Trial] = []
        with showing(self.table.title, len(jobs), shown=progress) as report:

            def tell(key: Trial, summary: Mapping[str, Any]) -> None:
                done.append(key)
                report(len(done), ", ".join(part for part in key[0] if part))

            with own_process() if workers == 1 else nullcontext():
                run_all(jobs, workers if workers > 1 else 0, tell, None)
        found: dict[Cell, list[Run]] = {}
        for (cell, _), job in jobs.items():
            found.setdefault(cell, []).append(Run.load(job.folder))
        return {(cell.row, cell.column): each for cell, each in found.items()}


def _check_counts(**counts: int | None) -> None:
    """Refuse numbers below 1.

    Raises:
        ConfigError: naming the first.
    """
    for name, count in counts.items():
        if count is not None and not (isinstance(count, int) and count >= 1):
            raise ConfigError(name, f"{count!r} is no whole number above 0", "give 1 or more")
