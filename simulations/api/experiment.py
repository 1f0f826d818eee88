"""`edgeloop.simulate`: one experiment in one call."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop.errors import ConfigError
from edgeloop.runtime import config, plugins
from simulations.api import brought
from simulations.api.brought import Brought
from simulations.api.run import Run, execute
from simulations.settings import RunSettings
from simulations.sinks import parse_sinks

if TYPE_CHECKING:
    import torch
    from torch import nn

    Model = str | type[nn.Module] | nn.Module | Callable[..., nn.Module]
    Optimizer = str | Callable[[Sequence[torch.Tensor], float], torch.optim.Optimizer]
    Augment = str | Callable[[torch.Tensor], torch.Tensor]


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
    optimizer: "Optimizer" = "sgd",
    schedule: str | Callable[[int, int], float] = "constant",
    augment: "Augment | None" = None,
    metrics: Sequence[str | Callable[..., float]] = (),
    class_names: Sequence[str] | None = None,
    out: str | Path | None = None,
    sinks: Sequence[str] = (),
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
            labels (N,) to a number.
        class_names: of arrays and torch datasets.
        out: the run's folder; one that is removed with the `Run` if not given.
        sinks: tensorboard:FOLDER, mlflow:URI.
        progress: whether to show it.
        **settings: any option of `edgeloop simulate`, with _ for -: clients, rounds, seed,
            batch_size, ...; any other word is a hyperparameter of the algorithm: local_lr,
            local_epochs, ... The number of workers is 1 if not given: more need a script whose
            main part stands behind `if __name__ == "__main__":`.

    Raises:
        InputError: if the settings, the data or the folder are wrong, or memory runs out.
    """
    _check_words(settings)
    _check_optimizer(optimizer)
    found = Brought()
    fields = RunSettings.model_fields
    options = {key: settings.pop(key) for key in list(settings) if key not in fields}
    natural = partition is None and isinstance(data, tuple | list) and len(data) == 3
    table = {
        "workers": 1,
        **settings,
        "algorithm": found.name(plugins.ALGORITHMS, algorithm),
        "data": brought.data_name(data, class_names),
        "models": brought.model_name(found, model),
        "partition": "natural" if natural else _named(found, plugins.PARTITIONS, partition),
        "optimizer": found.name(plugins.OPTIMIZERS, optimizer),
        "schedule": found.name(plugins.SCHEDULES, schedule),
        "augment": _named(found, plugins.AUGMENTATIONS, augment),
        "metrics": tuple(found.name(plugins.METRICS, each) for each in metrics),
        "options": {**settings.get("options", {}), **options},
    }
    found.check_workers(table["workers"])
    known = {key: value for key, value in table.items() if value is not None}
    read = config.parse(known, RunSettings, "simulate")
    return execute(read, None if out is None else Path(out), parse_sinks(sinks), shown=progress)


def _check_words(settings: Mapping[str, Any]) -> None:
    """Refuse words of the command that are no arguments here.

    Raises:
        ConfigError: the first one, and what to write instead.
    """
    for word, instead in _COMMAND_ONLY.items():
        if word in settings:
            raise ConfigError(word, "is an option of the command alone", instead)


def _check_optimizer(given: Any) -> None:
    """Refuse an optimiser that is made already: each client's model needs one of its own.

    Raises:
        ConfigError: naming what to give instead.
    """
    if isinstance(given, str) or callable(given):
        return
    kind = type(given)
    problem = f"is an instance of {kind.__name__}, and each client's model needs one of its own"
    own = f"torch.optim.{kind.__name__}" if kind.__module__.startswith("torch.optim") else "CLASS"
    remedy = f"give the class, optimizer={own}, or a function of parameters and a learning rate"
    raise ConfigError("optimizer", problem, remedy)


def _named(found: Brought, group: plugins.Group, given: Any) -> str | None:
    return None if given is None else found.name(group, given)
