"""What a sink is, how a person names one, and how its failure is kept from the run."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from edgeloop.cli import console
from edgeloop.errors import ConfigError, choose
from simulations.results.measurements import Row

KINDS = {"tensorboard": "FOLDER", "mlflow": "URI", "wandb": "FOLDER"}
"""The sinks there are, and what each one's place is."""
METRICS = (
    *("accuracy", "accuracy_std", "auc", "epsilon", "train_loss"),
    *("seconds", "seconds_training", "seconds_evaluating", "seconds_aggregating"),
    *("bytes_up", "bytes_down", "floats_up", "floats_down"),
)
"""Of each round, by their names in `Row`."""
RESULTS = ("best_accuracy", "best_round", "final_accuracy", "seconds_per_round")
"""Of the summary."""


@runtime_checkable
class Sink(Protocol):
    """Takes a run's numbers; may raise anything, which `open_guarded` holds back."""

    @property
    def name(self) -> str:
        """What it is called in a message."""
        ...

    def begin(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Take a new run, or one that continues.

        Args:
            folder: of the run; its name is the run's name.
            config: all that decides the run's results.
            rows: of the rounds before, which this or another process may have sent already.
        """
        ...

    def row(self, row: Row) -> None:
        """Take a round."""
        ...

    def end(self, summary: Mapping[str, Any]) -> None:
        """Take the results of a run that finished."""
        ...

    def close(self) -> None:
        """Let go, whether the run finished or not."""
        ...


def numbers(row: Row) -> dict[str, float]:
    """Return a round's metrics that have a value, by name; the algorithm's own too."""
    values = {name: getattr(row, name) for name in METRICS} | dict(row.measures) | dict(row.metrics)
    return {name: float(value) for name, value in values.items() if value is not None}


def parse_sinks(words: Sequence[str]) -> list[Sink]:
    """Make the sinks that "kind:place" words name, without writing anything yet.

    Raises:
        ConfigError: if a word names none, or its package is not installed.
    """
    return [_sink(word) for word in words]


def _sink(word: str) -> Sink:
    kind, _, place = word.partition(":")
    if kind not in KINDS or not place:
        forms = " or ".join(f"{each}:{what}" for each, what in KINDS.items())
        meant = choose(kind, KINDS)
        remedy = meant if meant.startswith("did") and kind not in KINDS else f"write {forms}"
        raise ConfigError("sink", f"{word!r} names none", remedy)
    try:
        module = importlib.import_module(f"simulations.sinks.{kind}")
    except ModuleNotFoundError as error:
        problem = f"{kind} needs {error.name}, which is not installed"
        raise ConfigError("sink", problem, f"pip install 'edgeloop[{kind}]'") from error
    made: Sink = module.make(place)
    return made


class GuardedSinks:
    """Sends to all sinks; one that fails is logged once, and gets nothing more."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    def begin(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Tell of a run."""
        self._tell("begin", folder, config, rows)

    def row(self, row: Row) -> None:
        """Tell of a round."""
        self._tell("row", row)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Tell of the results."""
        self._tell("end", summary)

    def close(self) -> None:
        """Have all let go."""
        self._tell("close")

    def _tell(self, what: str, *arguments: Any) -> None:
        for sink in list(self._sinks):
            try:
                getattr(sink, what)(*arguments)
            except Exception as error:  # whatever a sink raises, the run continues
                self._sinks.remove(sink)
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                console.note(f"sink {sink.name}: {reason}; the run continues without it")


@contextmanager
def open_guarded(
    sinks: Sequence[Sink], folder: Path, config: Mapping[str, Any], rows: Sequence[Row]
) -> Iterator[GuardedSinks]:
    """Open sinks for a run; whatever happens to them never reaches it."""
    every = GuardedSinks(sinks)
    every.begin(folder, config, rows)
    try:
        yield every
    finally:
        every.close()
