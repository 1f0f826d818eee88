"""What is held against the recorded numbers: every algorithm, and its documented variants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeloop import algorithms

ROUNDS = 3

PARTS = ("first", "weights", "uploads", "broadcast", "correct", "auc")
"""What a record has, see `playing`."""


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        algorithm: its name.
        variant: of its card; "released" for the defaults.
        options: fields of its Config that differ.
        joining: the share of the clients that trains in a round.
        rounds: T.
        parts: what is held.
    """

    algorithm: str
    variant: str = "released"
    options: Mapping[str, Any] = field(default_factory=dict)
    joining: float = 1.0
    rounds: int = ROUNDS
    parts: tuple[str, ...] = PARTS


LIMITED = {"fedktl": {"rounds": 1, "parts": ("first", "weights", "uploads", "correct", "auc")}}
"""FedKTL's server was no authors' code's at bd597a1; its clients' first round, which asks none, was.

To hold all of it from some commit on, take this line out, and record it there with a note."""


def _defaults() -> dict[str, Case]:
    return {name: Case(name, **LIMITED.get(name, {})) for name in algorithms.names()}


def _variants() -> dict[str, Case]:
    """Return the cards' other variants, as they were named at bd597a1."""
    named = {
        "apfl": "paper",
        "feddistill": "soft-labels",
        "fedgen": "intended",
        "fedkd": "repaired",
        "fedorgp": "published",
        "fedproto": "paper",
        "fedprox": "paper",
        "fedrep": "paper",
        "fedtgp": "paper",
        "gpfl": "paper",
        "perfedavg": "paper",
    }
    return {f"{name}-{which}": Case(name, which) for name, which in named.items()}


def _half() -> dict[str, Case]:
    """Return runs in which half of the clients train in a round."""
    names = ("fedala", "fedavg", "feddbe", "fedgh", "fedproto", "fedtgp")
    return {f"{name}-half": Case(name, joining=0.5) for name in names}


ON_HAR: dict[str, Case] = _defaults()
ON_IMAGES: dict[str, Case] = {**_defaults(), **_variants(), **_half()}
