"""Shares of classes drawn from a Dirichlet distribution, as PFLlib draws them.

`dirichlet` draws shares among all clients, `exdir` among those that drew the class first (Yang et
al. 2023, arXiv 2311.03154, as PFLlib has it).

Shape suffixes: M clients, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from edgeloop.data.samples import Labels
from edgeloop.errors import ConfigError, DataError

Indices = NDArray[np.int64]
Shares = list[Indices]
EXDIR_LEAST = 10
"""Samples that `exdir` gives every client at least, whatever the batch size."""

_TRIES_OF_CLASSES = 20  # for one of the shares: classes are drawn so much faster


@dataclass(frozen=True)
class DirichletDraw:
    """What is drawn.

    Attributes:
        clients: M.
        alpha: the concentration.
        labels: int64 (N,).
        classes: C.
        draw: the source of randomness; it moves on.
        max_tries: how often it may be drawn.
    """

    clients: int
    alpha: float
    labels: Labels
    classes: int
    draw: RandomState
    max_tries: int


def dirichlet(drawing: DirichletDraw, least: int) -> Shares:
    """Draw until every client has `least` samples.

    Raises:
        DataError: after `max_tries` draws some client still has fewer.
    """
    everybody = np.ones((drawing.classes, drawing.clients), bool)
    remedy = "use fewer clients, a larger alpha or more data"
    return _until(drawing, lambda: _shares(drawing, everybody), least, remedy)


def exdir(drawing: DirichletDraw, per_client: int) -> Shares:
    """Draw `per_client` classes for every client, then shares of a class among its clients.

    A class has at least half as many clients as it would have on average, and one.

    Raises:
        ConfigError: more classes per client than there are classes.
        DataError: classes or clients without enough after `max_tries` draws.
    """
    if per_client > drawing.classes:
        problem = f"{per_client} of only {drawing.classes} classes"
        raise ConfigError("classes_per_client", problem, f"use at most {drawing.classes}")
    owners_CM = _owners(drawing, per_client)
    remedy = "use fewer clients, a larger alpha (PFLlib recommends 100) or more data"
    shares = _until(drawing, lambda: _shares(drawing, owners_CM, rest=True), EXDIR_LEAST, remedy)
    for share in shares:
        drawing.draw.shuffle(share)
    return shares


def _owners(drawing: DirichletDraw, per_client: int) -> NDArray[np.bool_]:
    """Draw every client's classes until all classes have clients enough: (C, M)."""
    clients, classes = drawing.clients, drawing.classes
    wanted = max(per_client * clients // classes // 2, 1)
    possible = per_client * clients >= classes * wanted
    tries = _TRIES_OF_CLASSES * drawing.max_tries if possible else 0
    for _ in range(tries):
        owners_CM = np.zeros((classes, clients), bool)
        for client in range(clients):
            owners_CM[drawing.draw.choice(classes, per_client, replace=False), client] = True
        if owners_CM.sum(axis=1).min() >= wanted:
            return owners_CM
    problem = f"{per_client} for each of {clients} clients"
    never = f"in {tries} draws never gave" if possible else "cannot give"
    reason = f"{never} all {classes} classes {wanted} clients or more"
    remedy = "use more classes per client or more clients"
    raise DataError("classes_per_client", f"{problem} {reason}", remedy)


def _until(
    drawing: DirichletDraw, attempt: Callable[[], Shares], least: int, remedy: str
) -> Shares:
    """Draw until the poorest client has `least` samples, at most `max_tries` times."""
    best, poorest = -1, 0
    for _ in range(drawing.max_tries):
        shares = attempt()
        sizes = [len(share) for share in shares]
        if min(sizes) >= least:
            return shares
        if min(sizes) > best:
            best, poorest = min(sizes), int(np.argmin(sizes))
    problem = (
        f"{drawing.clients} with alpha {drawing.alpha}: after {drawing.max_tries} draws client "
        f"{poorest} still had {best} samples at best, {least - best} short of the {least} that "
        "every client needs"
    )
    raise DataError("clients", problem, remedy)


def _shares(drawing: DirichletDraw, owners_CM: NDArray[np.bool_], rest: bool = False) -> Shares:
    """Draw every class's shares once; clients that hold N / M samples get no more.

    With `rest`, what rounding leaves of a class goes to the last of its clients; so does all of it
    where none of them may take more.
    """
    labels, clients, draw = drawing.labels, drawing.clients, drawing.draw
    shares: list[Shares] = [[] for _ in range(clients)]
    held_M = np.zeros(clients, np.int64)
    for label, owners_M in enumerate(owners_CM):
        indices = np.flatnonzero(labels == label)
        draw.shuffle(indices)
        weights_M = draw.dirichlet(np.repeat(drawing.alpha, clients))
        weights_M = np.where((held_M < len(labels) / clients) & owners_M, weights_M, 0.0)
        if not rest and not weights_M.sum() > 0:
            # alpha is so small that no client that may take more drew a share: a failed try.
            return [np.empty(0, np.int64) for _ in shares]
        cuts = _cuts(weights_M, len(indices))
        if rest and len(cuts) and cuts[-1] != len(indices):
            cuts[np.flatnonzero(owners_M)[-1] :] = len(indices)
        for client, share in enumerate(np.split(indices, cuts)):
            shares[client].append(share)
            held_M[client] += len(share)
    return [np.concatenate(share) for share in shares]


def _cuts(weights_M: NDArray[np.float64], samples: int) -> Indices:
    """Return where the share of every client but the last ends; 0 where nobody has a weight."""
    total = weights_M.sum()
    parts_M = weights_M / total if total > 0 else weights_M
    return (np.cumsum(parts_M) * samples).astype(np.int64)[:-1]
