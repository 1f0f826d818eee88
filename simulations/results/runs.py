"""Finished runs read back from their folders."""

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from edgeloop import algorithms
from edgeloop.errors import RunError
from edgeloop.runtime import wording
from simulations.results.folder import (
    BESIDE,
    FREE_SETTINGS,
    IDENTITY,
    LATER_SETTINGS,
    PARTITION,
    SUMMARY,
    flat,
)

_UNTOLD = re.compile(
    rf"(hyperparameters\.)?seed|options(\..*)?|code_weights(\..*)?|{'|'.join(FREE_SETTINGS)}"
)
"""Keys that are no settings: seeds, an own network's first weights, which are drawn as by a seed,
what changes no result, and options, because hyperparameters say what they led to."""
_REMEDY = "give a finished run's folder, or one that holds some"


Known = Annotated[float, BeforeValidator(lambda value: 0.0 if value is None else value)]
"""A number that is null where there was no test sample: 0 here, beside 0 test samples."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="allow")

    algorithm: str
    data: str
    seed: int
    partition_fingerprint: str
    code_weights: dict[str, str] = {}


class Summary(BaseModel):
    """What a finished run's summary.json must hold; docs/simulation.md defines every key."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    config: _Config
    accuracy_by_round: list[Known]
    best_accuracy: Known
    best_round: Annotated[int, BeforeValidator(lambda value: 0 if value is None else value)]
    final_accuracy: Known
    auc_by_round: list[float | None] = []
    accuracy_by_client: dict[str, Known]
    samples_by_client: dict[str, dict[str, int]]
    model_by_client: dict[str, str]
    seconds_per_round: float
    seconds: dict[str, float]
    bytes_up_per_client: float
    bytes_down_per_client: float
    floats_up_per_client: float
    floats_down_per_client: float
    peak_memory_bytes: int


class Partition(BaseModel):
    """A run's partition.json: each client's samples by class, `train` and `test`."""

    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    clients: dict[str, dict[str, list[int]]]


M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """One run, as its folder tells it."""

    folder: Path
    summary: Summary

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.summary.config.seed

    @property
    def rounds(self) -> int:
        """How many rounds of training there were."""
        return len(self.summary.accuracy_by_round) - 1

    @property
    def title(self) -> str:
        """The algorithm's name as the field writes it."""
        name = self.summary.config.algorithm
        return algorithms.info(name).title if name in algorithms.names() else name

    @property
    def sends(self) -> bool:
        """Whether its clients send anything."""
        name = self.summary.config.algorithm
        return name not in algorithms.names() or algorithms.info(name).up != "nothing"

    @property
    def data(self) -> str:
        """The data's name."""
        return Path(self.summary.config.data).name

    @cached_property
    def stated_settings(self) -> dict[str, Any]:
        """Every setting by its whole key, but for the seed and what changes no result."""
        every = flat(self.summary.config.model_dump())
        return {key: value for key, value in every.items() if not _UNTOLD.fullmatch(key)}

    @property
    def own_weights(self) -> dict[str, str]:
        """A digest of the first weights of each own network that a module was given for."""
        return dict(self.summary.config.code_weights)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The stated settings, without those that older versions' runs lack and that are off.

        So runs of older versions are like others.
        """
        return {
            key: value
            for key, value in self.stated_settings.items()
            if key not in LATER_SETTINGS or value != LATER_SETTINGS[key]
        }

    def bytes(self, way: str) -> int:
        """Return the bytes that all clients sent ("up") or got ("down") for the training."""
        mean = (
            self.summary.bytes_up_per_client if way == "up" else self.summary.bytes_down_per_client
        )
        return round(mean * len(self.summary.accuracy_by_client) * self.rounds)

    def partition(self) -> Partition | None:
        """Return who has what; None where the run did not keep it.

        Raises:
            RunError: if the file is damaged.
        """
        path = self.folder / PARTITION
        return _read(path, Partition) if path.exists() else None

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines of rounds.csv by column, numbers where there are, None for empty cells.

        Raises:
            RunError: if the file is not there, or a cell is no number.
        """
        path = self.folder / "rounds.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return [
                    {name: json.loads(cell) if cell else None for name, cell in row.items()}
                    for row in csv.DictReader(file)
                ]
        except (OSError, TypeError, ValueError, csv.Error) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error

    def columns(self, names: Sequence[str]) -> dict[str, dict[int, float]]:
        """Return columns of rounds.csv by name and round, without empty cells.

        Raises:
            RunError: if the file or a column is not there, or a cell is no number.
        """
        path = self.folder / "rounds.csv"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            return {
                name: {int(row["round"]): float(row[name]) for row in rows if row[name]}
                for name in names
            }
        except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error


def find(places: Iterable[Path]) -> list[FinishedRun]:
    """Read runs from their folders, or from folders that hold some.

    Raises:
        RunError: if there is none in a place, or one is damaged.
    """
    return [run for place in places for run in _found(place)]


def with_companions(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Return runs and, of those that ran beside them, each that is not there already.

    The same run may stand beside several, as Local with the same seed: it is taken once.

    Raises:
        RunError: if one is damaged.
    """
    found = list(runs)
    known = {_same(run) for run in runs}
    for run in runs:
        folders = sorted(filter(is_run, (run.folder / BESIDE).glob("*")))
        for other in (_finished(folder) for folder in folders):
            if (same := _same(other)) not in known:
                known.add(same)
                found.append(other)
    return found


def _same(run: FinishedRun) -> str:
    return json.dumps([run.settings, run.seed, run.own_weights], sort_keys=True)


def is_run(folder: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return (folder / IDENTITY).is_file() and (folder / SUMMARY).is_file()


def _found(place: Path) -> list[FinishedRun]:
    if not place.is_dir():
        raise RunError(str(place), "there is no such folder", _REMEDY)
    folders = [place] if is_run(place) else sorted(filter(is_run, place.iterdir()))
    if not folders:
        open_ = (place / IDENTITY).is_file() and not (place / SUMMARY).exists()
        problem = "holds a run that is not finished" if open_ else "holds no finished run"
        remedy = "run its command again to go on" if open_ else _REMEDY
        raise RunError(str(place), problem, remedy)
    return [_finished(folder) for folder in folders]


def _finished(folder: Path) -> FinishedRun:
    return FinishedRun(folder, _read(folder / SUMMARY, Summary))


def _read(path: Path, kind: type[M]) -> M:
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise _damaged(path, wording.first_problem(error.errors())) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, problem: str) -> RunError:
    return RunError(str(path), f"is damaged ({problem})", "run it again into a new folder")
