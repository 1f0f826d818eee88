import math
import subprocess
import sys

import pytest
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis import rdp

from edgeloop.privacy import accounting
from edgeloop.privacy.accounting import (
    ORDERS,
    Event,
    epsilon,
    epsilon_notes,
    parse_epsilon,
    round_cost,
    sum_events,
)
from edgeloop.runtime.config import PrivacySettings

TRAINING = Event(1.1, 0.01, 500)


def test_epsilon_is_the_librarys() -> None:
    theirs = RDPAccountant()
    theirs.history = [(1.1, 0.01, 500), (8.0, 1.0, 5)]
    alphas = [1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0]
    found = epsilon([TRAINING, Event(8.0, 1.0, 5)], 1e-5)
    assert found <= theirs.get_epsilon(1e-5, alphas)  # more orders, a tighter bound
    assert found == pytest.approx(theirs.get_epsilon(1e-5), rel=1e-6)


def test_it_is_the_librarys_module_without_the_library() -> None:
    """To the bit; the package would bring torch along."""
    theirs = rdp.compute_rdp(q=0.01, noise_multiplier=1.1, steps=1, orders=[*ORDERS])
    assert accounting._divergences(1.1, 0.01).tolist() == theirs.tolist()
    code = """
import sys
from edgeloop.privacy import accounting
print(accounting.epsilon([accounting.Event(1.1, 0.01, 500)], 1e-5))
print({"torch", "opacus"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [repr(epsilon([TRAINING], 1e-5)), "set()"]


def test_epsilon_of_one_gaussian_is_the_formulas() -> None:
    # Renyi divergence a / (2 s^2), turned into epsilon as in Balle et al., by hand.
    sigma, delta = 4.0, 1e-5
    candidates = [
        a / (2 * sigma**2) + math.log((a - 1) / a) - (math.log(delta) + math.log(a)) / (a - 1)
        for a in (1 + n / 100 for n in range(10, 6000))
    ]
    assert epsilon([Event(sigma, 1.0, 1)], delta) == pytest.approx(min(candidates), rel=1e-3)


def test_epsilon_grows_with_rounds_and_falls_with_noise() -> None:
    rounds = [epsilon([Event(1.1, 0.01, 100 * n)], 1e-5) for n in range(1, 6)]
    assert rounds == sorted(set(rounds))
    noise = [epsilon([Event(sigma, 0.1, 100)], 1e-5) for sigma in (0.5, 1.0, 2.0, 8.0)]
    assert noise == sorted(set(noise), reverse=True)
    assert epsilon([], 1e-5) == 0.0
    assert epsilon([Event(10_000.0, 0.001, 1)], 1e-5) < 0.01  # at the end of the orders


def test_a_rounds_events() -> None:
    asked = PrivacySettings(noise=2.0, prototype_noise=8.0)
    facts = {"samples": 95, "batch_size": 10, "epochs": 3}
    training, upload = round_cost(asked, **facts, prototypes=True)
    assert training == Event(2.0, 10 / 95, 27)
    assert upload == Event(8.0, 1.0, 1)
    assert round_cost(asked, **facts, prototypes=False) == (training,)
    few = {"samples": 9, "batch_size": 10, "epochs": 3}
    assert round_cost(asked, **few, prototypes=True) == (upload,)
    assert round_cost(asked, samples=0, batch_size=10, epochs=1, prototypes=True) == ()


def test_events_of_one_kind_are_added() -> None:
    rounds = [(TRAINING, Event(8.0, 1.0, 1))] * 3
    assert sum_events(*rounds) == (Event(1.1, 0.01, 1500), Event(8.0, 1.0, 3))


def test_what_a_device_says_that_it_has_spent() -> None:
    assert epsilon_notes(1.23451) == {"epsilon": "1.2346"}  # never less than it is
    assert parse_epsilon(epsilon_notes(0.5)) == 0.5
    assert parse_epsilon({}) is None
    for text in ("", "nan", "-1", "inf", "much"):
        assert parse_epsilon({"epsilon": text}) is None
    assert parse_epsilon(epsilon_notes(math.inf)) == 1e9
