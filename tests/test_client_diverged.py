"""A client whose weights are no numbers any more answers, and spoils nobody else's."""

from typing import Any

import numpy as np
import pytest
import torch

from edgeloop import algorithms, models, server_loop
from edgeloop.algorithm import Algorithm
from edgeloop.client import Client
from edgeloop.cohorts.local import LocalCohort
from edgeloop.data import ClientData, Samples
from edgeloop.protocol import wire


def made(name: str, algorithm: Algorithm) -> Client:  # type: ignore[type-arg]  # of any algorithm
    inputs = np.random.default_rng(0).normal(size=(8, 1, 28, 28)).astype(np.float32)
    samples = Samples(inputs, np.arange(8) % 2)
    model = models.build("cnn", (1, 28, 28), 2, width=8)
    return Client(name, algorithm, model, ClientData(samples, samples), batch_size=4, seed=0)


@pytest.mark.parametrize("algorithm", ["fedtgp", "fedproto", "feddistill"])
def test_nothing_is_sent_of_a_model_that_has_diverged(
    algorithm: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = algorithms.load(algorithm, classes=2, width=8)
    one, two = (made(name, loaded) for name in ("one", "two"))
    with torch.no_grad():
        for parameter in one.model.parameters():
            parameter.fill_(torch.nan)
    closed: list[Any] = []
    cohort = LocalCohort({"one": one, "two": two})
    run_state, reports = server_loop.run_rounds(
        loaded, cohort, 2, server_loop.initial_state(loaded), closed.append
    )
    assert [each.answers["one"].upload for each in closed] == [None, None]
    assert all(each.answers["two"].upload is not None for each in closed)
    assert "one: its upload has NaN or infinity in it" in caplog.text
    assert wire.finite(run_state.broadcast)
    assert reports["two"].test_samples == 8


def test_what_may_be_nan_is_still_finite() -> None:
    from edgeloop.client import Report

    assert wire.finite(Report(1, 2, 3, 0.1, 0.2))
    assert not wire.finite(Report(1, 2, 3, np.inf, 0.2))
