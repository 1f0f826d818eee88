"""What the answers of a client tell of its samples, in sum: epsilon, by Renyi accounting.

Every training step is a Gaussian mechanism on a Poisson sample of the data; every upload of
prototypes one on all of it. Their Renyi divergences add up, whatever was sent in between.

Source: Mironov, CSF 2017; Mironov, Talwar and Zhang 2019, arXiv:1908.10530; Balle et al., AISTATS
2020 (from divergences to epsilon). Counted by opacus.
"""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import module_from_spec
from typing import Any

from edgeloop.errors import ConfigError
from edgeloop.runtime import modules
from edgeloop.runtime.config import PrivacySettings

NOTE = "epsilon"
"""The name of the note beside an answer that tells what its device has spent."""

MAX_EPSILON = 1e9

_RDP = "opacus.accountants.analysis.rdp"

ORDERS = (
    *(1 + tenths / 10 for tenths in range(1, 100)),
    *range(11, 64),
    *(64, 80, 96, 128, 192, 256, 384, 512),
)
"""Of the divergences that are counted."""


@dataclass(frozen=True)
class Event:
    """A mechanism that ran so many times.

    Attributes:
        noise: standard deviation of its noise, in multiples of what one sample can change.
        rate: the chance of a sample to be in its sum.
        times: how often.
    """

    noise: float
    rate: float
    times: int


def round_cost(
    privacy: PrivacySettings, *, samples: int, batch_size: int, epochs: int, prototypes: bool
) -> tuple[Event, ...]:
    """Return what one round of a client is.

    Args:
        privacy: the noise.
        samples: of the client, all for training.
        batch_size: expected samples of a step.
        epochs: of a round.
        prototypes: whether means of classes are uploaded.
    """
    steps = epochs * (samples // batch_size)
    events = [Event(privacy.noise, batch_size / samples, steps)] if steps else []
    if prototypes and samples:
        events.append(Event(privacy.prototype_noise, 1.0, 1))
    return tuple(events)


def sum_events(*parts: Iterable[Event]) -> tuple[Event, ...]:
    """Return all events, those of one kind as one."""
    times: dict[tuple[float, float], int] = {}
    for event in (each for part in parts for each in part):
        kind = event.noise, event.rate
        times[kind] = times.get(kind, 0) + event.times
    return tuple(Event(*kind, count) for kind, count in times.items())


def epsilon(events: Iterable[Event], delta: float) -> float:
    """Return what events have spent together; infinite where nothing is guaranteed.

    Raises:
        ConfigError: if opacus is not installed.
    """
    divergences = [event.times * _divergences(event.noise, event.rate) for event in events]
    if not divergences:
        return 0.0
    with warnings.catch_warnings():  # of an order at the range's end: still a bound
        warnings.simplefilter("ignore")
        spent = _rdp().get_privacy_spent(orders=ORDERS, rdp=sum(divergences), delta=delta)[0]
    return max(float(spent), 0.0)


@lru_cache(maxsize=1024)
def _divergences(noise: float, rate: float) -> Any:
    return _rdp().compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=ORDERS)


@lru_cache(maxsize=1)
def _rdp() -> Any:
    """Return opacus' accounting: this one module, without its package, which trains with torch."""
    try:
        spec = modules.find(_RDP)
        if spec is not None and spec.loader is not None:
            rdp = module_from_spec(spec)
            spec.loader.exec_module(rdp)
            return rdp
    except ImportError as error:
        raise _absent() from error
    raise _absent()


def _absent() -> ConfigError:
    problem = "is counted by opacus, which is not installed"
    return ConfigError("privacy", problem, "pip install 'edgeloop[privacy]'")


def check() -> None:
    """Refuse to spend what nobody here can count.

    Raises:
        ConfigError: if opacus is not installed.
    """
    _rdp()


def round_up(spent: float) -> float:
    """Return what was spent as a device reports it: beyond `MAX_EPSILON` nothing is guaranteed."""
    return math.ceil(min(spent, MAX_EPSILON) * 1e4) / 1e4


def epsilon_notes(spent: float) -> dict[str, str]:
    """Return a note of what was spent, for an aggregator of 0.1."""
    return {NOTE: f"{round_up(spent):.4f}"}


def parse_epsilon(notes: Mapping[str, str]) -> float | None:
    """Return what a message's notes say was spent; None if they say nothing that can be."""
    try:
        spent = float(notes.get(NOTE, "")[:32])
    except ValueError:
        return None
    return spent if 0 <= spent <= MAX_EPSILON else None
