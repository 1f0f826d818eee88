"""Finished runs of the same settings, put together: they differ in the seed alone."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from edgeloop.errors import ConfigError
from edgeloop.statistics.chance import Interval, wilson
from simulations.results.folder import LATER_SETTINGS
from simulations.results.runs import FinishedRun


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of the same settings with different seeds, ascending.

    Attributes:
        name: tells it from the other groups.
        runs: one or more.
    """

    name: str
    runs: tuple[FinishedRun, ...]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of all its runs."""
        return self.runs[0].settings

    @property
    def stated_settings(self) -> Mapping[str, Any]:
        """The same, with those that are off."""
        return self.runs[0].stated_settings

    @property
    def fingerprint(self) -> str:
        """Which client holds which samples."""
        return self.runs[0].summary.config.partition_fingerprint

    @property
    def clients(self) -> list[str]:
        """The clients' names, in the order of their numbers."""
        return sorted(self.runs[0].summary.accuracy_by_client)

    def curves(self) -> dict[int, list[float]]:
        """Return the runs' accuracies by round, as far as all runs go."""
        values = zip(*(run.summary.accuracy_by_round for run in self.runs), strict=False)
        return {number: list(each) for number, each in enumerate(values)}

    @property
    def tested(self) -> dict[str, int]:
        """Each client's test samples."""
        samples = self.runs[0].summary.samples_by_client
        return {name: each["test"] for name, each in samples.items()}

    @property
    def test_samples(self) -> int:
        """Test samples of all clients."""
        return sum(self.tested.values())

    @property
    def final_accuracy(self) -> float:
        """Of the last evaluation, the mean of the runs."""
        accuracies = [run.summary.final_accuracy for run in self.runs]
        return sum(accuracies) / len(accuracies)

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of that, by the test samples; None without any."""
        return wilson(self.final_accuracy * self.test_samples, self.test_samples)

    def by_client(self) -> dict[str, float]:
        """Return each client's accuracy of the last evaluation, the mean of the runs."""
        runs = [run.summary.accuracy_by_client for run in self.runs]
        return {name: sum(run[name] for run in runs) / len(runs) for name in self.clients}


def group_runs(runs: Iterable[FinishedRun]) -> list[Group]:
    """Put runs of the same settings together, in the order in which the first of each comes.

    Raises:
        ConfigError: if two runs are of the same settings and seed.
    """
    found: dict[str, list[FinishedRun]] = {}
    for run in runs:
        found.setdefault(json.dumps(run.settings, sort_keys=True), []).append(run)
    alike = [part for each in found.values() for part in _by_weights(each)]
    groups = [tuple(sorted(each, key=lambda run: run.seed)) for each in alike]
    for group in groups:
        _check_seeds(group)
    names = [_name(group[0], groups) for group in groups]
    again = [names[:place].count(name) for place, name in enumerate(names)]
    return [
        Group(f"{name} ({count + 1})" if count else name, group)
        for name, count, group in zip(names, again, groups, strict=True)
    ]


def _by_weights(runs: Sequence[FinishedRun]) -> list[Sequence[FinishedRun]]:
    """Part runs by their own networks' first weights, if a seed is there with several."""
    if len({run.seed for run in runs}) == len(runs):
        return [runs]
    found: dict[str, list[FinishedRun]] = {}
    for run in runs:
        found.setdefault(json.dumps(run.own_weights, sort_keys=True), []).append(run)
    return list(found.values())


def _check_seeds(runs: Sequence[FinishedRun]) -> None:
    for one, other in pairwise(runs):
        if one.seed == other.seed:
            problem = f"{one.folder} and {other.folder} have the same settings and seed {one.seed}"
            raise ConfigError("folders", problem, "give one of them")


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the settings that are not the same everywhere, by key, their values in order.

    Args:
        settings: the stated settings of some runs. What an older version's run lacks has the value
            that this version's default has; what another algorithm lacks has none.
    """
    keys = dict.fromkeys(key for each in settings for key in each)
    values = {key: [_value(each, key, settings) for each in settings] for key in keys}
    return {key: each for key, each in values.items() if any(one != each[0] for one in each)}


def _name(run: FinishedRun, groups: Sequence[Sequence[FinishedRun]]) -> str:
    """Return the algorithm's title, and the settings that tell it from others of that title."""
    alike = [each[0].stated_settings for each in groups if each[0].title == run.title]
    own = run.stated_settings
    words = {key: _brief(key, _value(own, key, alike)) for key in differing_settings(alike)}
    parts = [f"{key.rpartition('.')[2]} {text}" for key, text in words.items() if len(text) <= 20]
    return ", ".join([run.title, *parts[:3]])


def _value(settings: Mapping[str, Any], key: str, all_settings: Sequence[Mapping[str, Any]]) -> Any:
    """Return a setting's value; where it is not stated, the value of runs of older versions."""
    algorithm = settings.get("algorithm")
    known = any(key in each for each in all_settings if each.get("algorithm") == algorithm)
    if key.startswith("hyperparameters.") and not known:
        return None
    return settings.get(key, LATER_SETTINGS.get(key))


def _brief(key: str, value: Any) -> str:
    return Path(value).name if key == "data" else str(value)
