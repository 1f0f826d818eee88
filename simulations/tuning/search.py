"""A search by Optuna: what is tried next follows from the seed and from all that was tried before.

Nothing of Optuna is stored: its study is made again of the trials that the folder has. So a search
that was killed goes on as if it had not been, and more trials can be asked for later.
"""

from pathlib import Path
from typing import Any

from edgeloop.errors import ConfigError, RunError
from edgeloop.runtime import atomic_files
from edgeloop.seeds import derive
from simulations.tuning.sweep import (
    TRIALS,
    Changes,
    Done,
    Range,
    Sweep,
    Tried,
    prepare,
    run_settings,
    write,
)


def run_search(sweep: Sweep, folder: Path, done: Done, cluster: str | None = None) -> list[Tried]:
    """Try as many settings as the sweep asks for, one after the other.

    Args:
        sweep: with a search.
        folder: of the sweep.
        done: as of `run_settings`.
        cluster: likewise; the seeds of a setting run on it at once.

    Raises:
        InputError: if a setting, the data, the folder or the cluster is wrong, or Optuna is not
            installed.
    """
    optuna = _optuna()
    sweep.check(cluster)
    place = prepare(sweep, folder)
    kinds = {name: _distribution(optuna, each) for name, each in sweep.search.items()}
    known = _known(folder)
    seed = int(sweep.run.get("seed", 0))
    found: list[Tried] = []
    for number in range(max(sweep.trials, len(known))):
        name = f"trial-{number:04}"
        changes = (
            known[number]
            if number < len(known)
            else _next(optuna, kinds, found, derive(seed, "sweep", number))
        )
        found += run_settings(sweep, folder, {name: changes}, place, done, cluster)
        if number >= len(known):
            tried = [dict(each.changes) for each in found]
            atomic_files.write_json(folder / TRIALS, {"trials": tried})
            write(sweep, folder, found)
    return write(sweep, folder, found)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        problem = "needs optuna, which is not installed"
        raise ConfigError("search", problem, "pip install 'edgeloop[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _known(folder: Path) -> list[Changes]:
    """Return the trials that a folder has.

    Raises:
        RunError: if they cannot be read.
    """
    path = folder / TRIALS
    if not path.exists():
        return []
    try:
        return list(atomic_files.read_json(path)["trials"])
    except (KeyError, OSError, TypeError, ValueError) as error:
        remedy = "remove it: the same trials come again"
        raise RunError(str(path), f"cannot be read ({error})", remedy) from error


def _distribution(optuna: Any, values: Range | tuple[Any, ...]) -> Any:
    kinds = optuna.distributions
    if not isinstance(values, Range):
        return kinds.CategoricalDistribution(values)
    if values.whole:
        return kinds.IntDistribution(int(values.low), int(values.high), log=values.log)
    return kinds.FloatDistribution(values.low, values.high, log=values.log)


def _next(optuna: Any, kinds: Any, found: list[Tried], seed: int) -> Changes:
    """Return what to try next: the tree-structured Parzen estimator's, of what was found."""
    sampler = optuna.samplers.TPESampler(seed=seed % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for each in found:
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(each.changes), distributions=kinds, value=each.score
            )
        )
    return dict(study.ask(kinds).params)
