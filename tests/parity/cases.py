"""What is held against the recorded numbers: every algorithm, and its documented variants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROUNDS = 3

PARTS = ("first", "weights", "uploads", "broadcast", "correct", "auc")
"""What a record has, see `playing`."""


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        algorithm: its name.
        options: fields of its Config that differ.
        joining: the share of the clients that trains in a round.
        rounds: T.
        parts: what is held.
    """

    algorithm: str
    options: Mapping[str, Any] = field(default_factory=dict)
    joining: float = 1.0
    rounds: int = ROUNDS
    parts: tuple[str, ...] = PARTS


NAMES = (
    *("apfl", "ditto", "fedala", "fedavg", "fedcp", "feddbe", "feddistill", "fedgen", "fedgh"),
    *("fedkd", "fedktl", "fedorgp", "fedper", "fedproto", "fedprox", "fedrep", "fedtgp", "fml"),
    *("gpfl", "lgfedavg", "local", "perfedavg", "tinyproto"),
    *("fedbn", "feddyn", "fedl2g", "fedmrl", "fednova", "moon", "scaffold"),
)
"""All of bd597a1, and in the last line those that came later, held to their first numbers."""

CLIENTS = {"fedktl": Case("fedktl", rounds=1, parts=tuple(p for p in PARTS if p != "broadcast"))}
"""FedKTL's server was not yet the authors' at bd597a1; its clients' round before any image was.

To hold all of it from a commit on, empty this, and record it there with a note.
"""

SHORTENED = {"fedl2g": Case("fedl2g", {"warm_up": 1})}
"""Whose first rounds do not train where nobody says otherwise."""

SERVERS = ("anchor", "bandwidth", "statistics", "server_epochs", "server_lr", "server_batch")
"""Hyperparameters that what is held of such a case does not depend on."""

CHAOTIC = ("fedgen-persist",)
"""Their servers amplify rounding: 100 steps of Adam a round on what they have learned before.

With other kernels their broadcasts are not held, nor what follows the first.
"""


def _defaults() -> dict[str, Case]:
    return {name: {**CLIENTS, **SHORTENED}.get(name, Case(name)) for name in NAMES}


def _variants() -> dict[str, Case]:
    """Return the cards' other variants as they were at bd597a1, whatever they are called since."""
    euclidean = {"pull": 0.1, "distance": "euclidean"}
    conditions = {"conditions": "received", "divided": True, "penalty": "norm"}
    angular = {"pull": 10.0, "objective": "angular", "server_epochs": 1}
    return {
        "apfl-mixture": Case("apfl", {"through_mixture": True, "weighted": False}),
        "feddistill-soft": Case("feddistill", {"distance": "soft"}),
        "fedgen-persist": Case("fedgen", {"persist": True}),
        "fedkd-repaired": Case("fedkd", {"repaired": True}),
        "fedorgp-angular": Case("fedorgp", angular),
        "fedproto-paper": Case("fedproto", {**euclidean, "weighted": True}),
        "fedprox-paper": Case("fedprox", {"mu": 1.0}),
        "fedrep-heads": Case("fedrep", {"head_epochs": 10, "weighted": False}),
        "fedtgp-paper": Case("fedtgp", {**euclidean, "margin": "all-pairs", "stale": False}),
        "gpfl-paper": Case("gpfl", conditions),
        "perfedavg-once": Case("perfedavg", {"repeats": 1, "outer_lr": 0.001}),
    }


def _half() -> dict[str, Case]:
    """Return runs in which half of the clients train in a round."""
    names = ("fedala", "fedavg", "feddbe", "fedgh", "fedproto", "fedtgp")
    return {f"{name}-half": Case(name, joining=0.5) for name in names}


ON_HAR: dict[str, Case] = _defaults()
ON_IMAGES: dict[str, Case] = {**_defaults(), **_variants(), **_half()}
