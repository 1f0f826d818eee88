"""`edgeloop.simulate`: one experiment in one call."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop.errors import ConfigError
from edgeloop.runtime import config, plugins
from simulations.api.brought import data_name
from simulations.api.own_names import Brought, model_name
from simulations.api.run import Run, execute
from simulations.settings import RunSettings
from simulations.sinks import parse_sinks

if TYPE_CHECKING:
    import torch
    from torch import nn

    Model = str | type[nn.Module] | nn.Module | Callable[..., nn.Module]
    Optimizer = str | Callable[[Sequence[torch.Tensor], float], torch.optim.Optimizer]
    Augment = str | Callable[[torch.Tensor], torch.Tensor]
    Metric = str | Callable[..., float]
    Metrics = Metric | Sequence[Metric] | None


_COMMAND_ONLY = {
    "seeds": "call simulate once for each seed, and give edgeloop.compare the lists of runs",
    "set": "give each hyperparameter as an argument: local_lr=0.1",
    "sink": "give sinks=[...]",
}
"""Words that no argument has, and what has it."""


def simulate(  # noqa: PLR0913 - keywords but three: what a run may be given as objects
    algorithm: Any,
    data: Any,
    model: "Model | Sequence[Model] | None" = None,
    *,
    partition: str | Callable[..., Any] | None = None,
    optimizer: "Optimizer | None" = "sgd",
    schedule: str | Callable[[int, int], float] | None = "constant",
    augment: "Augment | None" = None,
    metrics: "Metrics" = (),
    class_names: Sequence[str] | None = None,
    out: str | Path | None = None,
    sinks: str | Sequence[str] = (),
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Simulate federated learning; the same settings and seed give the command's bits.

    Args:
        algorithm: a name that `edgeloop algorithms` lists, an import path `pkg.module:Name`, or
            what has `INFO`, `Config` and `build`.
        data: a path or a name, as --data takes it; (x, y) or (x, y, clients), x (N, ...) and y
            (N,); a torch Dataset of pairs; or a Hugging Face dataset.
        model: a group or an architecture, an import path, a class of `nn.Module`, a function or a
            module that makes logits; several are shared out among the clients in turn. A class may
            take `shape`, `classes` and `channels`.
        partition: iid, pathological, dirichlet, exdir, natural, or a function from labels (N,), an
            `edgeloop.data.Partition` and a `numpy.random.RandomState` to each client's indices.
        optimizer: sgd, "sgd momentum=0.9", adam, ..., or a function from parameters and a learning
            rate to a `torch.optim.Optimizer`; new in each round.
        schedule: constant, cosine, linear, "exponential 0.99", or a function from a round and the
            number of rounds to a factor of the learning rate.
        augment: flip, crop, flip+crop, or a function from a batch's inputs to such inputs; what it
            draws from torch's stream is seeded.
        metrics: further ones: balanced-accuracy, macro-f1, or functions from scores (N, C) and
            labels (N,) to a number; one, or several.
        class_names: of arrays and torch datasets; of words in the order of their numbers.
        out: the run's folder; one that is removed with the `Run` if not given.
        sinks: tensorboard:FOLDER, mlflow:URI.
        progress: whether to show it.
        **settings: any option of `edgeloop simulate`, with _ for -: clients, rounds, seed,
            batch_size, ...; any other word is a hyperparameter of the algorithm: local_lr,
            local_epochs, ... The number of workers is 1 if not given: more need a script whose
            main part stands behind `if __name__ == "__main__":`.

    Raises:
        InputError: if the settings, the data or the folder are wrong, or memory runs out.

    Calls from several threads run one after the other.
    """
    _check_words(settings)
    _check_optimizer(optimizer)
    folder = None if out is None else _folder(out)
    found = Brought()
    with found.running():
        fields = RunSettings.model_fields
        options = {key: settings.pop(key) for key in list(settings) if key not in fields}
        natural = partition is None and isinstance(data, tuple | list) and len(data) == 3
        table = {
            "workers": 1,
            **settings,
            "algorithm": found.name(plugins.ALGORITHMS, algorithm),
            "data": data_name(data, class_names),
            "models": model_name(found, model),
            "partition": "natural" if natural else _named(found, plugins.PARTITIONS, partition),
            "optimizer": _named(found, plugins.OPTIMIZERS, optimizer),
            "schedule": _named(found, plugins.SCHEDULES, schedule),
            "augment": _named(found, plugins.AUGMENTATIONS, augment),
            "metrics": tuple(found.name(plugins.METRICS, each) for each in _several(metrics)),
            "options": {**(settings.get("options") or {}), **options},
        }
        found.check_workers(table["workers"])
        known = {key: value for key, value in table.items() if value is not None}
        read = config.parse(known, RunSettings, "simulate")
        return execute(read, folder, parse_sinks(_several(sinks)), shown=progress)


def _several(given: Any) -> Sequence[Any]:
    """Return a list of what may be one thing, or none."""
    if given is None:
        return ()
    return [given] if isinstance(given, str) or callable(given) else list(given)


def _folder(given: str | Path) -> Path:
    """Return a folder; one below ~ is the user's, whose name no shell has read.

    Raises:
        ConfigError: if it has no name, which would be the folder that this process runs in.
    """
    if not str(given):
        raise ConfigError("out", "names no folder", "give a new one, or leave it out")
    return Path(given).expanduser()


def _check_words(settings: Mapping[str, Any]) -> None:
    """Refuse words of the command that are no arguments here.

    Raises:
        ConfigError: the first one, and what to write instead.
    """
    for word, instead in _COMMAND_ONLY.items():
        if word in settings:
            raise ConfigError(word, "is an option of the command alone", instead)
    for word in settings:
        if "-" in word:
            raise ConfigError(word, "is no argument", f"write {word.replace('-', '_')}")


def _check_optimizer(given: Any) -> None:
    """Refuse an optimiser that is made already: each client's model needs one of its own.

    Raises:
        ConfigError: naming what to give instead.
    """
    if given is None or isinstance(given, str) or callable(given):
        return
    kind = type(given)
    problem = f"is an instance of {kind.__name__}, and each client's model needs one of its own"
    own = f"torch.optim.{kind.__name__}" if kind.__module__.startswith("torch.optim") else "CLASS"
    remedy = f"give the class, optimizer={own}, or a function of parameters and a learning rate"
    raise ConfigError("optimizer", problem, remedy)


def _named(found: Brought, group: plugins.Group, given: Any) -> str | None:
    return None if given is None else found.name(group, given)
