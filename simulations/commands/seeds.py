"""One command, several seeds: a run each in one folder, their mean and their spread."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.runtime import atomic_files
from simulations.results.seed_statistics import describe_values
from simulations.settings import RunSettings

FILE = "seeds.json"
MOST = 1000
MEASURES = ("best_accuracy", "final_accuracy", "seconds_per_round")
"""Of each run's summary, those with a mean and a spread."""

Summary = Mapping[str, Any]


def parse_seeds(word: str, first: int) -> list[int]:
    """Return the seeds that a word names: 0,1,2; or how many there are, from the first on.

    Raises:
        ConfigError: if it names none, or one twice.
    """
    remedy = "write how many, such as 3, or which, such as 0,1,2"
    parts = [part.strip() for part in word.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError("seeds", f"{word!r} names none", remedy)
    numbers = [int(part) for part in parts]
    if "," not in word:
        if not 1 <= numbers[0] <= MOST:
            raise ConfigError("seeds", f"{word} is not between 1 and {MOST}", remedy)
        numbers = list(range(first, first + numbers[0]))
    if len(set(numbers)) < len(numbers) or len(numbers) > MOST or max(numbers) >= 2**63:
        raise ConfigError("seeds", f"{word!r} has one twice, too many or too large ones", remedy)
    return numbers


def run_seeds(
    settings: RunSettings,
    seeds: Sequence[int],
    folder: Path,
    run: Callable[[RunSettings, Path], Summary],
) -> dict[str, Any]:
    """Run a setting with each seed, one after the other; a finished run is not run again.

    Args:
        settings: of all of them.
        seeds: each run's own.
        folder: gets a folder `seed-N` for each, and `seeds.json` with what is returned.
        run: runs one, or continues with it, or returns what it has come to.

    Returns:
        the seeds, their final accuracies, and each measure's mean, std, ci95 and runs; None of a
        measure that not every run has.
    """
    summaries = [
        run(settings.model_copy(update={"seed": seed}), folder / f"seed-{seed}") for seed in seeds
    ]
    found = {"seeds": list(seeds), **{name: _described(name, summaries) for name in MEASURES}}
    atomic_files.write_json(folder / FILE, found)
    return found


def _described(name: str, summaries: Sequence[Summary]) -> dict[str, Any] | None:
    values = [each[name] for each in summaries]
    return None if any(value is None for value in values) else describe_values(values)


def show(title: str, found: Mapping[str, Any], folder: Path) -> None:
    """Show a table of the runs, with their mean and spread."""
    known = [name for name in MEASURES if found[name] is not None]
    rows = [
        (str(seed), *(f"{found[name]['runs'][place]:.4f}" for name in known))
        for place, seed in enumerate(found["seeds"])
    ]
    for key, heading in (("mean", "mean"), ("std", "std"), ("ci95", "95 %, plus or minus")):
        values = [found[name][key] for name in known]
        if known and None not in values:
            rows.append((heading, *(f"{value:.4f}" for value in values)))
    console.table(title, ("seed", *(name.replace("_", " ") for name in known)), rows)
    console.say(f"results: {folder}")
