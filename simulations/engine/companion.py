"""What runs beside a run, on the same data from the same first weights, and what that tells.

It runs after it, in a folder within its folder, and changes nothing in it.
"""

from pathlib import Path
from typing import Any

from edgeloop import algorithms
from edgeloop.errors import RunError
from edgeloop.runtime import atomic_files
from simulations.results import pairing, runs
from simulations.results.folder import BESIDE, SUMMARY
from simulations.settings import RunSettings

TRAINING = ("local_epochs", "local_lr")
"""Hyperparameters of the clients' own training, which what runs beside has from the run."""


def companion_settings(settings: RunSettings, name: str, rounds: int) -> RunSettings:
    """Return the settings of an algorithm beside a run: what is the run's own, and no more.

    It has the run's data, models, seed, rounds of training, participation, and the clients' epochs
    and learning rate; its other hyperparameters are its defaults. Who sends nothing needs no noise.

    Args:
        settings: of the run.
        name: of the algorithm.
        rounds: that the run had, if patience ended it early; an algorithm has its own number where
            one of the two needs a single exchange.

    Raises:
        ConfigError: if a hyperparameter is wrong.
    """
    wanted = algorithms.info(name).rounds
    if wanted != algorithms.info(settings.algorithm).rounds:  # one of them needs a single exchange
        rounds = wanted
    variant = settings.variant if settings.variant in algorithms.info(name).variants else "released"
    changes: dict[str, Any] = {
        **{"algorithm": name, "rounds": rounds, "patience": None, "variant": variant},
        **{"options": _options(settings, name), "history": False, BESIDE: ()},
    }
    if algorithms.info(name).up == "nothing":
        changes["privacy"] = None
    if settings.cohort == "stacked":  # not every algorithm can
        changes["cohort"] = "auto"
    return settings.model_copy(update=changes).without_unasked()


def planned_rounds(settings: RunSettings) -> list[int]:
    """Return how many rounds a run and each that is beside it have, if none ends early.

    Raises:
        ConfigError: if the settings are wrong, or there is no such algorithm.
    """
    settings.check()
    beside = [companion_settings(settings, name, settings.rounds) for name in settings.beside]
    return [each.rounds for each in (settings, *beside)]


def _options(settings: RunSettings, name: str) -> dict[str, Any]:
    """Return how the run's clients train, as far as the algorithm knows of it."""
    config = algorithms.config(settings.algorithm, **settings.algorithm_options(classes=2))
    own = {key: getattr(config, key) for key in TRAINING if hasattr(config, key)}
    return algorithms.supported_options(name, **own)


def companion_folder(folder: Path, name: str) -> Path:
    """Return where the run of an algorithm is that is beside one."""
    return folder / BESIDE / name


def missing_parts(settings: RunSettings, folder: Path) -> list[str]:
    """Return what is asked for beside a run, and has not run yet.

    Raises:
        RunError: if the run's summary is damaged.
    """
    held = summary(folder).get(BESIDE, {}) if (folder / SUMMARY).exists() else {}
    return [name for name in settings.beside if name not in held]


def summary(folder: Path) -> dict[str, Any]:
    """Return a finished run's summary.

    Raises:
        RunError: if it is damaged.
    """
    path = folder / SUMMARY
    try:
        return atomic_files.read_json(path)
    except (OSError, ValueError) as error:
        remedy = "run it again into a new folder"
        raise RunError(str(path), f"is damaged ({error})", remedy) from error


def add_comparison(folder: Path, name: str) -> dict[str, Any]:
    """Add to a finished run's summary what the run beside it tells; return the summary.

    Raises:
        RunError: if a file of one of them is not there or damaged.
    """
    found = pairing.compare_runs(runs.find([folder]), runs.find([companion_folder(folder, name)]))
    held = summary(folder)
    held[BESIDE] = {**held.get(BESIDE, {}), name: pairing.as_json(found)}
    atomic_files.write_json(folder / SUMMARY, held)
    return held
