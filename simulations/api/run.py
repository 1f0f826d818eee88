"""A run: made by the one function that the command and `edgeloop.simulate` go through, and kept."""

import base64
import html
import shutil
import tempfile
import weakref
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop.errors import RunError
from edgeloop.runtime import atomic_files
from simulations.api import progress
from simulations.api.own_process import torch_as_it_begins
from simulations.engine.execution import Watch
from simulations.engine.run import simulate
from simulations.report import simulated
from simulations.results import groups, measurements, runs
from simulations.results.folder import BESIDE
from simulations.results.measurements import in_words
from simulations.results.runs import FinishedRun
from simulations.settings import RunSettings
from simulations.sinks import Sink

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

REPORT = "report.html"
PICTURE = "accuracy.png"


class Run:
    """A finished run, as its folder tells it.

    Args:
        folder: of the run.
        summary: the content of its summary.json; docs/simulation.md defines every key.
        passing: whether the folder is removed when nobody has the run any more.
    """

    def __init__(self, folder: Path, summary: Mapping[str, Any], *, passing: bool = False) -> None:
        self.folder = folder
        self.summary = summary
        if passing:
            weakref.finalize(self, shutil.rmtree, folder.parent, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Return a finished run that is in a folder.

        Raises:
            RunError: if none is, or several are, or it is damaged.
        """
        found = _finished(Path(folder).expanduser())
        return cls(found.folder, atomic_files.read_json(found.folder / "summary.json"))

    @property
    def algorithm(self) -> str:
        """The algorithm's name."""
        return str(self.summary["config"]["algorithm"])

    @property
    def accuracy(self) -> float | None:
        """The last accuracy of all clients' test samples; None where nobody has any."""
        return _number(self.summary["final_accuracy"])

    @property
    def best_accuracy(self) -> float | None:
        """The best accuracy of a round: an optimistic choice."""
        return _number(self.summary["best_accuracy"])

    @property
    def warnings(self) -> list[str]:
        """What is legal and still not wanted, a sentence each."""
        return list(self.summary["warnings"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every round's numbers by name, as `rounds.csv` has them, and further metrics."""
        more = self.summary.get("metrics_by_round", {})
        return [
            {**row, **{name: values[place] for name, values in more.items()}}
            for place, row in enumerate(self.finished.rows())
        ]

    @property
    def history(self) -> "pandas.DataFrame | list[dict[str, Any]]":
        """The same as a pandas frame, a round a row, where pandas is installed."""
        try:
            import pandas
        except ImportError:
            return self.rows
        return pandas.DataFrame(self.rows).set_index("round")

    @property
    def finished(self) -> FinishedRun:
        """The run as reports and comparisons take it."""
        return _finished(self.folder)

    def save(self, folder: str | Path) -> Path:
        """Copy the run into a folder, which `edgeloop report` and `edgeloop compare` read.

        Args:
            folder: new, or empty.

        Raises:
            RunError: if it holds something, or cannot be written.
        """
        place = Path(folder).expanduser()
        try:
            if place.exists() and (not place.is_dir() or any(place.iterdir())):
                raise RunError(str(place), "holds something", "name a new folder")
            shutil.copytree(self.folder, place, dirs_exist_ok=True)
        except OSError as error:
            raise RunError(str(place), f"cannot be written ({error})", "name another") from error
        return place

    def report(self, path: str | Path | None = None) -> Path:
        """Write the run's report, one HTML file; return where it is.

        Args:
            path: of the file; report.html in the run's folder if not given.

        Raises:
            RunError: if a file of the run is damaged, or the report cannot be written.
        """
        found = runs.with_companions([self.finished])
        place = Path(path).expanduser() if path is not None else self.folder / REPORT
        try:
            atomic_files.write(place, simulated.render(groups.group_runs(found)).encode())
        except OSError as error:
            raise RunError(str(place), f"cannot be written ({error})", "name another") from error
        return place

    def plot(self) -> "Figure":
        """Return the accuracy over rounds as a matplotlib figure."""
        progress.show_figures()
        rows = self.rows
        columns = ([row[name] for row in rows] for name in measurements.COLUMNS[:3])
        return measurements.draw(self.finished.title, *columns)

    def __repr__(self) -> str:
        rounds = len(self.summary["accuracy_by_round"]) - 1
        counted = f"{rounds} round{'s' * (rounds != 1)}"
        return f"<Run {self.algorithm}: {counted}, accuracy {in_words(self.accuracy)}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the numbers, the warnings and the picture."""
        facts = {
            "accuracy": in_words(self.accuracy),
            "best": f"{in_words(self.best_accuracy)} in round {self.summary['best_round']}",
            "clients": len(self.summary["accuracy_by_client"]),
            "seconds a round": f"{self.summary['seconds_per_round']:.2f}",
        }
        said = [html.escape(each) for each in self.warnings]
        said += [html.escape(each["sentence"]) for each in self.summary.get(BESIDE, {}).values()]
        cells = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in facts.items())
        picture = base64.b64encode((self.folder / PICTURE).read_bytes()).decode()
        return (
            f"<b>{html.escape(self.finished.title)}</b><table>{cells}</table>"
            + "".join(f"<p>{each}</p>" for each in said)
            + f'<img alt="accuracy over rounds" width="480" src="data:image/png;base64,{picture}">'
        )


def execute(
    settings: RunSettings,
    folder: Path | None,
    sinks: Sequence[Sink] = (),
    *,
    shown: bool = True,
    again: bool = False,
) -> Run:
    """Run a simulation, or continue with it: the command and `edgeloop.simulate` do.

    Args:
        settings: what to run.
        folder: where its results go; None for one that is removed with the `Run`.
        sinks: get every row and the summary.
        shown: whether progress is shown.
        again: whether a finished run is returned as it stands.

    Raises:
        InputError: as `simulations.engine.run.simulate`.
    """
    passing = folder is None
    place = folder or Path(tempfile.mkdtemp(prefix="edgeloop-run-")) / "run"
    try:
        with torch_as_it_begins(), _watching(settings, shown) as watch:
            return Run(place, simulate(settings, place, watch, sinks, again), passing=passing)
    except BaseException:
        if passing:
            shutil.rmtree(place.parent, ignore_errors=True)
        raise


@contextmanager
def _watching(settings: RunSettings, shown: bool) -> Iterator[Watch]:
    """Show how far a run has come, and what runs beside it."""
    names = (settings.algorithm, *settings.beside)
    ends = list(accumulate(settings.planned_rounds()))
    with progress.progress(", then ".join(names), ends[-1], shown=shown) as report:

        def watch(done: int, accuracy: float | None) -> None:
            name = names[min(bisect_left(ends, max(done, 1)), len(names) - 1)]
            beside = f"{name}: " if settings.beside else ""
            report(done, f"{beside}accuracy {in_words(accuracy)}")

        yield watch


def _finished(folder: Path) -> FinishedRun:
    found = runs.find([folder])
    if len(found) > 1:
        names = ", ".join(each.folder.name for each in found[:5])
        raise RunError(str(folder), f"holds {len(found)} runs: {names}", "name one of them")
    return found[0]


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
