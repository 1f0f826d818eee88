"""Clients that join after the last round: what the knowledge is worth to them, and after tuning.

Source: the new clients of PFLlib, for every algorithm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeloop import algorithms, models
from edgeloop.client import Report
from edgeloop.data import Federation
from edgeloop.data.views import select_clients
from edgeloop.errors import ConfigError
from simulations.engine.client_factory import ClientFactory
from simulations.results.measurements import accuracy


@dataclass(frozen=True)
class LateSplit:
    """A federation's clients: those of the rounds, and those who come later.

    Attributes:
        early: who takes part in the rounds.
        late: who joins after the last one; None for nobody.
    """

    early: Federation
    late: Federation | None = None


def split_late_clients(everyone: Federation, late: int) -> LateSplit:
    """Let the last so many clients join later.

    Raises:
        ConfigError: if that leaves nobody for the rounds.
    """
    if not late:
        return LateSplit(everyone)
    count = len(everyone)
    if late >= count:
        problem = f"{late} of {count} clients would leave nobody for the rounds"
        raise ConfigError("new-clients", problem, f"use {count - 1} or fewer")
    early = select_clients(everyone, range(count - late))
    return LateSplit(early, select_clients(everyone, range(count - late, count)))


def evaluate_late_clients(
    factory: ClientFactory, divided: LateSplit, broadcast: Any
) -> dict[str, Any]:
    """Return how the new clients do with the last broadcast, before and after fine-tuning.

    Each starts from the first weights of its architecture, takes the broadcast over, is evaluated,
    trains its local epochs once, and is evaluated again as it is then.
    """
    if divided.late is None:
        return {}
    epochs = factory.training.fine_tuning_epochs
    tunes = algorithms.supported_options(factory.training.algorithm, local_epochs=epochs)
    tuned = replace(factory, options={**factory.options, **tunes})
    pairs = [
        _make_client(tuned, divided, client).join(broadcast) for client in range(len(divided.late))
    ]
    before, after = zip(*pairs, strict=True)
    clients = {f"new-{i:02}": _as_summary(*pair) for i, pair in enumerate(pairs)}
    found = {**_as_summary(list(before), list(after)), "fine_tuning_epochs": epochs}
    return {"new_clients": {**found, "by_client": clients}}


def _make_client(factory: ClientFactory, divided: LateSplit, client: int) -> Any:
    assert divided.late is not None  # noqa: S101 - who calls this has new clients
    group, number = factory.training.models, len(divided.early) + client
    architecture = models.client_architectures(group, number + 1)[-1]
    return factory.make_client(f"new-{client:02}", architecture, divided.late.client(client))


def _as_summary(
    before: Report | Sequence[Report], after: Report | Sequence[Report]
) -> dict[str, float | None]:
    pairs = {"before": before, "after": after}
    return {
        name: accuracy([each] if isinstance(each, Report) else each) for name, each in pairs.items()
    }
