"""A table of a paper as data: what is run for each cell, and what was published."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field, model_validator

from edgeloop import models
from edgeloop.errors import ConfigError, choose
from edgeloop.runtime import config
from edgeloop.runtime.config import Settings
from simulations.settings import DataSettings, RunSettings

Scale = Literal["paper", "cpu"]
Measure = Literal[
    "best",
    "last",
    "upload",
    "download",
    "both",
    "bytes up",
    "bytes down",
    "seconds",
    "all bytes up",
    "all bytes down",
    "core seconds",
]
"""Accuracies in per cent; numbers of all clients in a round, in millions: up, down (of the last
broadcast), or both together; bytes of a client and round in thousands; seconds a round. Of a whole
run, the last broadcast included: bytes of a client in thousands, and seconds of one core."""
Trials = Literal["seed", "partition"]
"""What differs between a cell's trials."""

EMBEDDED = "fashion-sample"
FIRST: int = DataSettings.model_fields["partition_seed"].default
"""The partition of a first trial, where a scenario names none."""
Table = dict[str, Any]


class Axis(Settings):
    """A row or a column.

    Attributes:
        name: as the paper writes it.
        settings: fields of `RunSettings`, stronger than the scenario's.
        beside: of a smaller column: the published one that it stands for; None for its own name's.
    """

    name: str
    settings: Table = Field(default_factory=dict)
    beside: str | None = None


class Reduced(Settings):
    """The same question for a CPU.

    Attributes:
        settings: stronger than all others.
        seeds: trials.
        rows: instead of the scenario's; empty for those.
        columns: likewise.
        note: what differs, and why the question stays.
    """

    settings: Table = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=1)] = 2
    rows: tuple[Axis, ...] = ()
    columns: tuple[Axis, ...] = ()
    note: str = ""


class Scenario(Settings):
    """A table.

    Attributes:
        title: of the table.
        question: that it answers, one sentence.
        source: authors, venue, table.
        seeds: trials.
        trials: what differs between them: the run's seed, or the partition's.
        measures: of each cell.
        settings: of every run.
        rows: usually algorithms.
        columns: usually data.
        paper: by row and heading: mean and std; one number where no std was published.
        cpu: the same question, smaller; None where only the paper's scale makes sense.
        counted: show beside it what a round's messages come to by formula.
        seconds: of one run at the smallest scale on one core, as measured; None where nobody has.
    """

    title: str
    question: str
    source: str
    seeds: Annotated[int, Field(ge=1)] = 3
    trials: Trials = "seed"
    measures: tuple[Measure, ...] = ("best",)
    settings: Table = Field(default_factory=dict)
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]
    paper: dict[str, dict[str, tuple[float, ...]]] = Field(default_factory=dict)
    cpu: Reduced | None = None
    counted: bool = False
    seconds: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> "Scenario":
        smaller = (self.cpu.rows, self.cpu.columns) if self.cpu else ()
        for axes in (self.rows, self.columns, *smaller):
            names = [axis.name for axis in axes]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"two rows or columns are called {twice[0]!r}: rename one")
        return self

    @model_validator(mode="after")
    def _published_cells_exist(self) -> "Scenario":
        for row, numbers in self.paper.items():
            _known("paper", row, [axis.name for axis in self.rows])
            for heading in numbers:
                _known(f"paper.{row}", heading, self.headings(self.columns))
        for column in self.cpu.columns if self.cpu else ():
            if column.beside is not None:
                where = f"cpu.columns.{column.name}.beside"
                _known(where, column.beside, [axis.name for axis in self.columns])
        return self

    def headings(self, columns: Sequence[Axis]) -> list[str]:
        """Return the table's headings: a column's name, or its measure's, or both."""
        return [self.heading(column, measure) for column in columns for measure in self.measures]

    def heading(self, column: Axis, measure: Measure) -> str:
        """Return the heading of one column's one measure."""
        if len(self.measures) == 1:
            return column.name
        return f"{column.name}, {measure}" if column.name else measure

    def published(self, row: str, column: Axis, measure: Measure) -> tuple[float, ...]:
        """Return a cell's published mean and std, either of which may be missing."""
        stands = column if column.beside is None else Axis(name=column.beside)
        return self.paper.get(row, {}).get(self.heading(stands, measure), ())

    def plan(self, scale: Scale) -> "Plan":
        """Return what is run at a scale.

        Raises:
            ConfigError: if there is no such scale, or a setting is wrong.
        """
        if scale == "paper":
            return Plan(self, self.rows, self.columns, {}, self.seeds)
        if self.cpu is None:
            remedy = "choose --scale paper"
            raise ConfigError("scale", f"{self.title} has none for a CPU", remedy)
        rows, columns = self.cpu.rows or self.rows, self.cpu.columns or self.columns
        return Plan(self, rows, columns, self.cpu.settings, self.cpu.seeds)


class Cell(NamedTuple):
    """A cell's place: the names of its row and column."""

    row: str
    column: str


Trial = tuple[Cell, int]
"""A cell, and a trial's number."""


class Plan(NamedTuple):
    """A scenario at one scale.

    Attributes:
        scenario: whose.
        rows: of the table.
        columns: of the table.
        stronger: settings that outdo all others.
        seeds: trials.
    """

    scenario: Scenario
    rows: Sequence[Axis]
    columns: Sequence[Axis]
    stronger: Mapping[str, Any]
    seeds: int

    def cells(self) -> dict[Cell, Table]:
        """Return each cell's settings; `data` is a name, and there is no seed yet."""
        pairs = product(self.rows, self.columns)
        return {Cell(row.name, column.name): self._merged(row, column) for row, column in pairs}

    def trial(self, table: Mapping[str, Any], number: int) -> Table:
        """Return a cell's settings in its trial of this number, from 0 on."""
        if self.scenario.trials == "seed":
            return {**table, "seed": number}
        return {**table, "partition_seed": table.get("partition_seed", FIRST) + number}

    def name_of(self, trial: RunSettings) -> str:
        """Return what a trial is called among its cell's."""
        if self.scenario.trials == "seed":
            return f"seed {trial.seed}"
        return f"partition {trial.partition_seed}"

    def _merged(self, row: Axis, column: Axis) -> Table:
        tables = (self.scenario.settings, column.settings, row.settings, self.stronger)
        merged: Table = {"workers": 1, "robust": "none"}  # papers average
        for table in tables:
            options = {**merged.get("options", {}), **table.get("options", {})}
            merged = {**merged, **table, "options": options}
        return merged

    def only(self, chosen: Mapping[str, str]) -> "Plan":
        """Keep the rows and columns that match: `row` and `column` by name, others by setting.

        Raises:
            ConfigError: if nothing is left.
        """
        axes = (*self.rows, *self.columns)
        known = ("row", "column", *dict.fromkeys(key for axis in axes for key in axis.settings))
        for key in chosen:
            if key not in known:
                raise ConfigError("only", f"no row and no column has {key!r}", choose(key, known))
        rows = [row for row in self.rows if _matches(row, "row", chosen)]
        columns = [column for column in self.columns if _matches(column, "column", chosen)]
        if not rows or not columns:
            words = " ".join(f"{key}={value}" for key, value in chosen.items())
            named = ", ".join(axis.name for axis in axes if axis.name)
            raise ConfigError("only", f"nothing is {words}", f"the rows and columns are {named}")
        return self._replace(rows=rows, columns=columns)


def _matches(axis: Axis, kind: str, chosen: Mapping[str, str]) -> bool:
    """Return whether an axis has what is chosen; what it does not say, it does not refuse."""
    facts = {**axis.settings, kind: axis.name}
    return all(_same(facts[key], chosen[key]) for key in chosen if key in facts)


def _same(fact: Any, word: str) -> bool:
    return str(fact).lower() == word.lower()


def smallest(scenario: Scenario) -> Scale:
    """Return the scale for a CPU, where the scenario has one."""
    return "cpu" if scenario.cpu else "paper"


def names() -> list[str]:
    """Return the scenarios' names, in order."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir())


def load(name: str) -> Scenario:
    """Read a scenario: by its name, or a TOML file of one's own.

    Raises:
        ConfigError: if there is none, or a key or a value is wrong; with the nearest right one.
    """
    if name.endswith(".toml"):
        return check_scenario(config.read(Path(name), Scenario), name)
    if name not in names():
        raise ConfigError("scenario", f"there is no {name!r}", choose(name, names()))
    with resources.as_file(_folder() / f"{name}.toml") as path:
        return check_scenario(config.read(path, Scenario), name)


def check_scenario(scenario: Scenario, name: str) -> Scenario:
    """Return the scenario if every cell's settings are possible.

    Raises:
        ConfigError: naming the first key that is none.
    """
    for scale in get_args(Scale):
        if scale == "cpu" and scenario.cpu is None:
            continue
        for cell, table in scenario.plan(scale).cells().items():
            source = f"{name}: {cell.row}, {cell.column}" if cell.column else f"{name}: {cell.row}"
            found = config.parse(table, RunSettings, source)
            if scenario.trials == "partition" and found.partition in (None, "natural"):
                problem = f"{source} is divided already: every trial would be the same"
                raise ConfigError("trials", problem, "give it a partition, or leave trials out")
            if found.models is not None:
                models.client_architectures(found.models, 1)
    return scenario


def _known(where: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        close = difflib.get_close_matches(word, known, n=1)
        meant = f"; did you mean {close[0]!r}" if close else f"; there are {', '.join(known)}"
        raise ValueError(f"{where} has {word!r}, which is no row or heading{meant}")


def _folder() -> Any:
    return resources.files("simulations") / "scenarios"
