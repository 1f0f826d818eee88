"""Class statistics: clients upload counts, means and a second moment of features, once.

A federated Gaussian classifier on the features of a frozen base, which the cloud computes from its
generator's images. Ours; its parts are known: one layer of k-means filters (Coates, Lee and Ng,
AISTATS 2011), class means, ridge and Gaussian classifiers on frozen features (CCVR, Luo et al.,
2021, arXiv:2106.05001; FedNCM, Legate et al., 2023, arXiv:2305.09958; Fed3R, Fani et al., ICML
2024). New are the base from a generator, each client's own class prior, and its own weight between
what it knows and what all know.

One exchange is enough. In later rounds a client's new upload takes its old one's place, so that
data may grow; an upload without any class takes its client out, and what is left has the same bits
as if it had never been there (`edgeloop.gaussian.statistics`). No client trains a network.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgeloop.algorithm import Algorithm, AlgorithmInfo, no_network
from edgeloop.gaussian import knowledge, statistics
from edgeloop.gaussian.client import StatisticsClient
from edgeloop.gaussian.knowledge import GlobalStatistics, HalfShares, Shares
from edgeloop.gaussian.options import Config as Config
from edgeloop.gaussian.statistics import ClassStatistics, HalfClassStatistics, Statistics
from edgeloop.gaussian.summing import StatisticsSum

INFO = AlgorithmInfo(
    title="Class statistics",
    runs_in=("simulation", "mqtt"),
    up="one mean (D floats) and count for each class of the client, one second moment (D x D)",
    down="the same of all clients",
    paper="ours; after Coates et al. 2011, CCVR, FedNCM and Fed3R",
    variants={
        "sums": {"second": False},
        "few-shot": {"form": "cosine"},
    },
    base=True,
    forgets=True,
    robust=False,
    rounds=1,
    experimental=True,
)


def build(config: Config) -> Algorithm[Shares | HalfShares, Statistics, GlobalStatistics]:
    """Bind server and client to one configuration."""

    def start() -> tuple[Shares | HalfShares, GlobalStatistics]:
        nothing = knowledge.no_uploads(config)
        return nothing, knowledge.global_statistics(nothing, config)

    def aggregate_by_name(
        state: Shares | HalfShares, uploads: Mapping[str, Statistics]
    ) -> tuple[Shares | HalfShares, GlobalStatistics]:
        held = knowledge.with_uploads(state, uploads, config)
        return held, knowledge.global_statistics(held, config)

    def aggregate(
        state: Shares | HalfShares, uploads: Sequence[Statistics]
    ) -> tuple[Shares | HalfShares, GlobalStatistics]:
        named = {f"upload-{number:06}": each for number, each in enumerate(uploads)}
        return aggregate_by_name(state, named)

    entries = statistics.triangle(config.dims) if config.sends_second else 0
    summing = StatisticsSum(config.classes, config.dims, config.sends_second)
    return Algorithm(
        state=HalfShares if config.half else Shares,
        upload=HalfClassStatistics if config.half else ClassStatistics,
        broadcast=GlobalStatistics,
        sizes={"C": config.classes, "D": config.dims, "T": entries},
        start=start,
        aggregate=aggregate,
        aggregate_by_name=aggregate_by_name,
        remove_clients=partial(_remove_clients, config),
        summing=None if config.half else summing,  # half precision cannot hold the sum of all
        check=partial(statistics.check, classes=config.classes, unit=config.form == "cosine"),
        make_client=partial(_make_client, config),
        round_metrics=_round_metrics,
        targets=no_network,
        loss=no_network,
        train=no_network,
        predict=no_network,
    )


def _remove_clients(
    config: Config, state: Shares | HalfShares, names: Collection[str]
) -> tuple[Shares | HalfShares, GlobalStatistics]:
    held = knowledge.without_clients(state, names, config)
    return held, knowledge.global_statistics(held, config)


def _make_client(config: Config, name: str, base: Any, data: Any) -> StatisticsClient:
    return StatisticsClient(name, config, base, data)


def _round_metrics(
    uploads: Sequence[Statistics], state: Shares | HalfShares, broadcast: GlobalStatistics
) -> Mapping[str, float]:
    """Return how many clients' shares are in it, how many samples, and how many classes."""
    return {
        "clients_held": float(len(state.counts_JC)),
        "samples": float(broadcast.counts_C.sum()),
        "classes_known": float(np.count_nonzero(broadcast.counts_C)),
    }
