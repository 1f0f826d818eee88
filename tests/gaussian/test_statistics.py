"""Sums that are exact, whoever adds them, and whoever leaves."""

import itertools
from typing import Any

import numpy as np
import pytest

from edgeloop import algorithms
from edgeloop.gaussian import knowledge, statistics
from edgeloop.gaussian.options import Config
from edgeloop.gaussian.statistics import Sums
from edgeloop.protocol import wire

CLASSES, DIMS = 5, 4


def samples(seed: int, count: int = 30, scale: float = 1.0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    labels = np.sort(random.integers(0, CLASSES - 1, count))
    return random.standard_normal((count, DIMS)) * scale + labels[:, None], labels


def own(seed: int, **changes: Any) -> Sums:
    return statistics.class_sums(*samples(seed, **changes), CLASSES)


def moment(found: Sums) -> Any:
    assert found.second_DD is not None
    return found.second_DD


def message(seed: int, half: bool = True, **changes: Any) -> Any:
    return statistics.encode_upload(own(seed, **changes), half)


@pytest.mark.parametrize("half", [True, False])
def test_a_message_stands_for_its_sums(half: bool) -> None:
    sent = message(1, half)
    found, exact = statistics.decode_upload(sent, CLASSES, DIMS), own(1)
    assert (found.counts_C == exact.counts_C).all()
    error = 2e-3 if half else 1e-3
    assert np.allclose(found.sums_CD, exact.sums_CD, atol=30 * error)
    assert found.second_DD is not None
    assert exact.second_DD is not None
    assert np.allclose(found.second_DD, exact.second_DD, rtol=error, atol=30 * error)
    assert (found.second_DD == found.second_DD.T).all()
    statistics.check(sent, CLASSES)


@pytest.mark.parametrize("half", [True, False])
def test_sums_are_the_same_to_the_bit_in_any_order(half: bool) -> None:
    """Also of clients of very different size: what a float64 rounds would show."""
    sizes = [1, 7, 1000, 30_000, 12]
    parts = [
        statistics.decode_upload(message(seed, half, count=size, scale=3.0), CLASSES, DIMS)
        for seed, size in enumerate(sizes)
    ]
    first = statistics.add_sums(parts, CLASSES, DIMS)
    for order in itertools.permutations(parts):
        found = statistics.add_sums(order, CLASSES, DIMS)
        assert (found.sums_CD == first.sums_CD).all()
        assert np.array_equal(moment(found), moment(first))
    rest = first - parts[3]
    others = statistics.add_sums([*parts[:3], parts[4]], CLASSES, DIMS)
    assert np.array_equal(moment(rest), moment(others))


def test_sums_that_are_not_on_the_grid_would_differ() -> None:
    """Or the test above could not fail."""
    parts = [own(seed, count=size, scale=3.0) for seed, size in enumerate([1, 7, 1000, 30_000])]
    totals = [statistics.add_sums(o, CLASSES, DIMS).sums_CD for o in itertools.permutations(parts)]
    assert any((each != totals[0]).any() for each in totals)


@pytest.mark.parametrize("precision", ["half", "single"])
@pytest.mark.parametrize("second", [True, False])
def test_who_leaves_has_never_been_there(precision: str, second: bool) -> None:
    facts: dict[str, Any] = {"classes": CLASSES, "dims": DIMS, "precision": precision}
    facts["second"] = second
    algorithm = algorithms.load("class-statistics", **facts)
    sent = {
        f"client-{seed}": statistics.encode_upload(
            statistics.class_sums(*samples(seed), CLASSES, second), precision == "half"
        )
        for seed in range(4)
    }
    state = algorithm.aggregate_uploads(algorithm.start()[0], sent)[0]
    assert algorithm.remove_clients is not None
    left = algorithm.remove_clients(state, ["client-2"])
    del sent["client-2"]
    never = algorithm.aggregate_uploads(algorithm.start()[0], sent)
    for found, expected in zip(left, never, strict=True):
        assert wire.fingerprint(found) == wire.fingerprint(expected)
    everybody = algorithm.remove_clients(state, [f"client-{seed}" for seed in range(4)])
    for found, expected in zip(everybody, algorithm.start(), strict=True):
        assert wire.fingerprint(found) == wire.fingerprint(expected)


def test_an_upload_takes_the_last_ones_place_and_an_empty_one_takes_it_out() -> None:
    algorithm = algorithms.load("class-statistics", classes=CLASSES, dims=DIMS)
    state = algorithm.aggregate_uploads(algorithm.start()[0], {"a": message(1), "b": message(2)})[0]
    changed = algorithm.aggregate_uploads(state, {"a": message(3)})
    expected = algorithm.aggregate_uploads(algorithm.start()[0], {"a": message(3), "b": message(2)})
    assert wire.fingerprint(changed[1]) == wire.fingerprint(expected[1])
    empty = statistics.encode_upload(statistics.empty_sums(CLASSES, DIMS), half=True)
    statistics.check(empty, CLASSES)
    left = algorithm.aggregate_uploads(changed[0], {"a": empty})
    expected = algorithm.aggregate_uploads(algorithm.start()[0], {"b": message(2)})
    assert wire.fingerprint(left[1]) == wire.fingerprint(expected[1])


def test_the_sums_of_all_are_those_of_one_client_with_all_samples() -> None:
    config = Config(CLASSES, dims=DIMS, precision="single")
    sent = {str(seed): message(seed, half=False) for seed in range(3)}
    state = knowledge.with_uploads(knowledge.no_uploads(config), sent, config)
    found = knowledge.global_statistics(state, config).sums(CLASSES, DIMS)
    parts = [samples(seed) for seed in range(3)]
    whole = statistics.class_sums(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        CLASSES,
    )
    assert (found.counts_C == whole.counts_C).all()
    assert np.allclose(found.sums_CD, whole.sums_CD, atol=0.01)
    assert found.second_DD is not None
    assert whole.second_DD is not None
    assert np.allclose(found.second_DD, whole.second_DD, atol=0.05)


def changed(**fields: Any) -> Any:
    sent = message(1)
    return type(sent)(**{**vars(sent), **fields})


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (changed(labels_R=np.array([0, 2, 1, 3])), "no ascending classes below 5"),
        (changed(labels_R=np.array([0, 1, 1, 3])), "no ascending classes below 5"),
        (changed(labels_R=np.array([0, 1, 2, 9])), "no ascending classes below 5"),
        (changed(labels_R=np.array([-1, 1, 2, 3])), "no ascending classes below 5"),
        (changed(counts_R=np.array([1, 0, 2, 3])), "a count of samples below 1"),
        (changed(counts_R=np.array([1, -5, 2, 3])), "a count of samples below 1"),
        (changed(counts_R=np.array([10**6, 1, 2, 3])), "more than 1,000,000 samples"),
        (changed(counts_R=np.array([2**62] * 4)), "more than 1,000,000 samples"),
        (changed(means_RD=np.full((4, DIMS), 65, np.float16)), "means_RD has an entry above 64"),
        (changed(means_RD=np.full((4, DIMS), 1e-6, np.float16)), "no multiple of"),
        (changed(second_T=np.full(10, 5000, np.float16)), "second_T has an entry above 4096"),
        (changed(second_T=np.zeros(10, np.float16)), "below the square of the means"),
        (changed(second_T=-message(1).second_T), "below the square of the means"),
        (
            changed(
                second_T=message(1).second_T * np.float16(1)
                + np.array([0, 60, 60, 60, 0, 60, 60, 0, 60, 0], np.float16)
            ),
            "no second moment of any samples",
        ),
        (
            changed(
                means_RD=np.full((4, DIMS), 6, np.float16),
                second_T=(37 * np.eye(DIMS)[np.triu_indices(DIMS)]).astype(np.float16),
            ),
            "no second moment of samples with these means",
        ),
    ],
)
def test_what_no_samples_have_is_refused(sent: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        statistics.check(sent, CLASSES)


def test_a_mean_of_unit_features_is_no_longer_than_they_are() -> None:
    sent = changed(means_RD=np.full((4, DIMS), 0.5, np.float16), second_T=np.zeros(0, np.float16))
    statistics.check(sent, CLASSES, unit=True)
    longer = changed(means_RD=np.full((4, DIMS), 0.6, np.float16), second_T=sent.second_T)
    algorithm = algorithms.load("class-statistics", classes=CLASSES, dims=DIMS, form="cosine")
    with pytest.raises(ValueError, match="of length 1 that is longer"):
        algorithm.check(longer)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("dims", [1, 64, 400])
def test_what_honest_samples_have_passes(half: bool, count: int, dims: int) -> None:
    """Also where rounding weighs most: all alike, cut off, of rank two, in falling directions."""
    random = np.random.default_rng(dims)
    drawn = random.standard_normal((count, dims))
    two = random.standard_normal((count, 2)) @ random.standard_normal((2, dims))
    falling = drawn * np.exp(-np.linspace(0, 8, dims))
    for features in (drawn, two, falling, 0 * drawn, 3.7 + 1e-3 * drawn, 61.7 + drawn, 1e3 * drawn):
        bounded = statistics.clip_features(features)
        labels = np.arange(count) % min(count, CLASSES)
        sums = statistics.class_sums(bounded, labels, CLASSES)
        statistics.check(statistics.encode_upload(sums, half), CLASSES)


def test_features_are_bounded() -> None:
    assert statistics.clip_features(np.array([[1e9, -1e9, 3.0]])).tolist() == [[64.0, -64.0, 3.0]]
