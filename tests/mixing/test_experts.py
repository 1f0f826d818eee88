"""The weight between a network trained alone and the run's: the rule, in numbers by hand."""

from dataclasses import replace

import numpy as np
import pytest

from edgeloop.mixing import experts
from edgeloop.mixing.experts import MixingWeights


def scores(labels: list[int], wrong: int = 0, sure: float = 4.0) -> np.ndarray:
    """Return scores of two classes that have the first so many labels wrong."""
    own = np.array([1 - label if i < wrong else label for i, label in enumerate(labels)])
    found: np.ndarray = sure * np.eye(2)[own]
    return found


LABELS = [0, 1] * 20
Y = np.array(LABELS)


def noise(right: int, seed: int) -> np.ndarray:
    """Return scores of two classes that have so many of 40 samples right, as sure of the others."""
    size = np.random.default_rng(seed).uniform(1, 9, 40)
    sign = np.where(np.arange(40) < right, 1.0, -1.0) * (2.0 * Y - 1)
    return np.stack([-size * sign, size * sign], axis=1)


@pytest.mark.parametrize(("alone", "together", "weight"), [(38, 30, 0), (30, 38, 1), (38, 38, 0.5)])
def test_most_hits_win_and_a_half_where_both_have_as_many(
    alone: int, together: int, weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experts, "TEMPERATURES", (1.0,))
    found = experts.choose_weights(noise(alone, 1), noise(together, 2), Y)
    assert found.weight == pytest.approx(weight, abs=0.25)
    assert (found.weight > 0.5) == (weight > 0.5)
    assert (found.weight < 0.5) == (weight < 0.5)


def test_calibrated_by_the_same_samples_the_better_one_decides() -> None:
    for alone, together in (
        (scores(LABELS, 20), scores(LABELS)),
        (scores(LABELS), scores(LABELS, 20)),
    ):
        mixed = experts.choose_weights(alone, together, Y).scores(alone, together)
        assert experts.hits(mixed, Y).all()


def test_few_samples_are_told_and_held_out_by_class() -> None:
    labels = np.repeat([0, 1, 2], [50, 40, 10])
    out = experts.held_out(labels, 7)
    assert [int((labels[out] == c).sum()) for c in range(3)] == [10, 8, 2]
    assert (out == experts.held_out(labels, 7)).all()
    assert (out != experts.held_out(labels, 8)).any()
    assert int(experts.held_out(np.repeat([0, 1], [19, 1]), 1)[19]) == 0, "the only one stays"
    assert not experts.held_out(np.zeros(0, np.int64), 1).any()


def test_folds_deal_each_class_evenly() -> None:
    labels = np.repeat([0, 1], [10, 5])
    folds = experts.folds(labels, 3)
    table = np.zeros((2, experts.FOLDS), int)
    np.add.at(table, (labels, folds), 1)
    assert table.tolist() == [[2] * 5, [1] * 5]


def test_one_trained_alone_keeps_a_voice_where_a_fifth_less_taught_it_nothing() -> None:
    nothing, little = scores(LABELS, 30), scores(LABELS, 19, sure=0.01)
    chosen = experts.choose_weights(nothing, nothing, Y)
    for found in (chosen, experts.equal_weights(nothing, nothing, Y, "few")):
        assert found.temperature_alone == experts.WARMEST_ALONE == 16
        assert found.temperature_together == experts.TEMPERATURES[-1]
        mixed = replace(found, weight=0.5).scores(scores(LABELS), scores(LABELS, 40))
        assert experts.hits(mixed, Y).all(), "trained on all, it is sure"
    assert experts.choose_weights(little, little, Y).temperature_alone < 1


def test_the_temperature_puts_scales_on_one_footing() -> None:
    """Distances a thousand times as large as logits say no more than they do."""
    small, large = scores(LABELS, 4, 1.0), scores(LABELS, 4, 1024.0)
    found = experts.equal_weights(small, large, Y, "")
    assert found.temperature_together == 1024 * found.temperature_alone
    mixed = found.scores(small, large)
    assert mixed == pytest.approx(experts.log_posteriors(small, found.temperature_alone))


def test_a_class_that_one_expert_does_not_know_is_left_to_the_other() -> None:
    alone, together = np.array([[0.0, 50.0]]), np.array([[1.0, -np.inf]])
    assert experts.are_usable(together)
    assert MixingWeights(0.5).scores(alone, together).argmax() == 1
    assert experts.hits(np.array([[-np.inf, -np.inf]]), np.array([0])).tolist() == [False]


def test_scores_that_are_none() -> None:
    assert not experts.are_usable(np.array([[0.0, np.nan]]))
    assert not experts.are_usable(np.array([[-np.inf, -np.inf]]))
    assert not experts.are_usable(np.array([[0.0, np.inf]]))
    assert experts.are_usable(np.zeros((0, 2)))
    assert experts.hits(np.array([[np.nan, 0.0], [np.nan, np.nan]]), np.array([1, 0])).tolist() == [
        True,
        False,
    ]


def test_a_mixture_that_is_worse_than_alone_beyond_chance_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experts, "TEMPERATURES", (1.0,))
    alone, together = scores(LABELS, 0, 1.0), scores(LABELS, 6, 4.0)
    found = experts.equal_weights(alone, together, Y, "asked for")
    assert (found.weight, found.why) == (0.0, experts.WORSE_REASON)
    assert experts.equal_weights(alone, scores(LABELS, 5, 4.0), Y, "asked for").weight == 0.5
    assert experts.equal_weights(alone, together, Y, "asked for", gated=False).weight == 0.5


def test_worse_is_beyond_chance_only() -> None:
    assert not experts.is_worse(scores(LABELS, 5), scores(LABELS), Y)  # p = 1/16
    assert experts.is_worse(scores(LABELS, 6), scores(LABELS), Y)  # p = 1/32
    assert not experts.is_worse(scores(LABELS), scores(LABELS, 6), Y)


def test_a_summary_counts_clients_by_what_mixing_did_to_them() -> None:
    better = experts.mixture_metrics(scores(LABELS, 30), scores(LABELS), scores(LABELS), Y)
    worse = experts.mixture_metrics(scores(LABELS), scores(LABELS, 1), scores(LABELS, 1), Y)
    untested = experts.mixture_metrics(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), Y[:0])
    assert better["alone"] == 0.25
    assert better["gained"] == 30
    assert untested["mixed"] is None
    clients = {"a": better, "b": worse, "c": untested}
    told = experts.summarize(
        "auto", {name: {"weight": 0.5, **each} for name, each in clients.items()}
    )
    assert (told["clients_better"], told["clients_worse"]) == (1, 1)
    assert (told["clients_better_beyond_chance"], told["clients_worse_beyond_chance"]) == (1, 0)
    assert told["mean"]["test_samples"] == 80
    assert told["mean"]["alone"] == 0.625


def test_a_committee_is_its_members_mean_log_posterior_at_their_temperature() -> None:
    one, other = np.array([[2.0, 0.0, -np.inf]]), np.array([[0.0, 4.0, 1.0]])
    found = experts.log_posteriors(experts.pooled([one, other], 2.0), 2.0)
    parts = [experts.log_posteriors(each, 2.0) for each in (one, other)]
    assert np.ptp(found - np.mean(parts, 0)) == pytest.approx(0, abs=1e-12)
    assert np.exp(found).sum() == pytest.approx(1)
    assert experts.pooled([one], 2.0).argmax() == 0
