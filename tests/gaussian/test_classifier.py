"""The classifiers that class statistics lead to, against plain formulas and plain searches."""

from dataclasses import replace

import numpy as np
import pytest

from edgeloop.gaussian import classifier, kernel, statistics
from edgeloop.gaussian.statistics import Labels, Matrix
from edgeloop.mixing import weighing
from edgeloop.mixing.weighing import normalised

CLASSES, DIMS = 4, 3
SPREAD = np.array([2.0, 1.0, 0.5])


def samples(seed: int, count: int = 40, classes: int = CLASSES) -> tuple[Matrix, Labels]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    centres = np.random.default_rng(99).standard_normal((CLASSES, DIMS)) * 2
    return centres[labels] + random.standard_normal((count, DIMS)), labels


def test_the_gaussian_classifier_is_bayes_rule() -> None:
    """Scores are log densities of one Gaussian a class, with the client's share, normalised."""
    features, labels = samples(0, 400)
    known = statistics.class_sums(features, labels, CLASSES)
    own = np.array([30.0, 1.0, 0.0, 5.0])
    found = classifier.gaussian(known, own, SPREAD, strength=10.0)
    means = np.stack([features[labels == c].mean(0) for c in range(CLASSES)])
    within = sum(
        (features[labels == c] - means[c]).T @ (features[labels == c] - means[c])
        for c in range(CLASSES)
    )
    prior = 0.7 * np.diag(SPREAD) + 0.3 * SPREAD.mean() * np.eye(DIMS)
    covariance = (within + 10 * prior) / (400 - CLASSES + 10)
    covariance += 1e-6 * np.trace(covariance) / DIMS * np.eye(DIMS)
    tested = samples(1)[0]
    gaps = tested[:, None] - means[None]
    densities = -0.5 * np.einsum("ncd,de,nce->nc", gaps, np.linalg.inv(covariance), gaps)
    densities += np.log((own + 0.1) / (own.sum() + 0.4))
    expected = densities - np.log(np.exp(densities).sum(1, keepdims=True))
    assert np.allclose(found.log_posteriors(tested), expected, atol=1e-8)


def test_without_a_second_moment_the_bases_covariance_counts() -> None:
    features, labels = samples(0)
    known = statistics.class_sums(features, labels, CLASSES, second=False)
    found = classifier.gaussian(known, known.counts_C, SPREAD)
    prior = 0.7 * SPREAD + 0.3 * SPREAD.mean()
    means = known.sums_CD / known.counts_C[:, None]
    assert np.allclose(found.weights_DC, means.T / prior[:, None], rtol=1e-5)


@pytest.mark.parametrize("form", [classifier.gaussian, classifier.cosine])
def test_classes_that_nobody_has_are_never_chosen(form: object) -> None:
    assert callable(form)
    features, labels = samples(0, classes=2)
    known = statistics.class_sums(features, labels, CLASSES)
    found = form(known, np.zeros(CLASSES), SPREAD).log_posteriors(features * 100)
    assert np.isfinite(found).all()
    assert (found.argmax(1) < 2).all()


@pytest.mark.parametrize("form", [classifier.gaussian, classifier.cosine])
def test_nothing_known_is_the_clients_own_shares(form: object) -> None:
    assert callable(form)
    nothing = statistics.empty_sums(CLASSES, DIMS)
    own = np.array([1.0, 0.0, 7.0, 0.0])
    found = form(nothing, own, SPREAD).log_posteriors(samples(1)[0])
    assert np.isfinite(found).all()
    assert np.allclose(np.exp(found), (own + 0.1) / 8.4)


def test_cosine_is_the_nearest_mean_by_angle() -> None:
    features = classifier.whiten(samples(0, 200)[0], SPREAD)
    labels = samples(0, 200)[1]
    assert np.allclose((features**2).sum(1), 1)
    known = statistics.class_sums(features, labels, CLASSES, second=False)
    found = classifier.cosine(known, np.ones(CLASSES), SPREAD).log_posteriors(features)
    means = known.sums_CD / np.linalg.norm(known.sums_CD, axis=1, keepdims=True)
    assert (found.argmax(1) == (features @ means.T).argmax(1)).all()


def test_the_kernel_without_a_sample_is_what_leaving_it_out_gives() -> None:
    features, labels = samples(0, 25)
    _, without = kernel.fit_kernel(features, labels, CLASSES, SPREAD, 0)
    spread = (SPREAD + 1e-3 * SPREAD.mean()) ** 0.25
    scaled = features / spread
    width = 1 / kernel._mean_distance(scaled)
    shares = (np.bincount(labels, minlength=CLASSES) + 0.1) / (25 + 0.4)
    wanted = np.eye(CLASSES)[labels] - shares
    for out in range(25):
        rest = np.arange(25) != out
        matrix = np.exp(-width * ((scaled[rest, None] - scaled[None, rest]) ** 2).sum(2))
        row = np.exp(-width * ((scaled[rest] - scaled[out]) ** 2).sum(1))
        scores = row @ np.linalg.solve(matrix + 0.1 * np.eye(24), wanted[rest]) + shares
        fit = [normalised(each * scores[None])[0] for each in kernel.SHARPNESS]
        assert any(np.allclose(without[out], each, atol=1e-4) for each in fit)


def test_the_kernel_with_more_samples_than_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = samples(0, 300)
    tested, wanted = samples(1, 300)
    whole, _ = kernel.fit_kernel(features, labels, CLASSES, SPREAD, 0)
    monkeypatch.setattr(kernel, "LANDMARKS", 60)
    some, without = kernel.fit_kernel(features, labels, CLASSES, SPREAD, 0)
    again, _ = kernel.fit_kernel(features, labels, CLASSES, SPREAD, 0)
    assert some.landmarks_LD.shape == (60, DIMS)
    assert (some.landmarks_LD == again.landmarks_LD).all()
    right = [(each.log_posteriors(tested).argmax(1) == wanted).mean() for each in (whole, some)]
    assert abs(right[0] - right[1]) < 0.03
    assert abs((without.argmax(1) == labels).mean() - right[1]) < 0.1


@pytest.mark.parametrize("count", [64, 300])
def test_the_kernel_of_many_samples_is_computed_in_parts(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory that does not grow by their number times the landmarks'."""
    monkeypatch.setattr(kernel, "LANDMARKS", 60)
    features, labels = samples(0, count)
    tested, _ = samples(1, 150)
    whole, without = kernel.fit_kernel(features, labels, CLASSES, SPREAD, 0)
    wanted = whole.log_posteriors(tested)
    largest = 0

    def measured(one: Matrix, other: Matrix, width: float) -> Matrix:
        nonlocal largest
        largest = max(largest, len(one))
        return measure(one, other, width)

    measure = kernel._kernel
    monkeypatch.setattr(kernel, "_kernel", measured)
    monkeypatch.setattr(kernel, "ROWS", 50)
    parts, again = kernel.fit_kernel(features, labels, CLASSES, SPREAD, 0)
    assert np.allclose(again, without, atol=1e-6)
    assert np.allclose(parts.log_posteriors(tested), wanted, atol=1e-6)
    assert largest == 50


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_kernel_of_very_few_samples(count: int) -> None:
    features, labels = samples(0, count)
    found, without = kernel.fit_kernel(features, labels, CLASSES, SPREAD, 0)
    assert np.isfinite(found.log_posteriors(features)).all()
    assert np.isfinite(without).all()
    same, _ = kernel.fit_kernel(np.repeat(features[:1], 3, 0), labels[:1].repeat(3), 4, SPREAD, 0)
    assert (same.log_posteriors(features[:1]).argmax(1) == labels[0]).all()


def log_of(rows: list[list[float]]) -> Matrix:
    found: Matrix = np.log(np.array(rows))
    return found


def test_a_half_where_nothing_decides() -> None:
    even = log_of([[0.5, 0.5]] * 4)
    assert weighing.weight(even, even, np.array([0, 1, 0, 1])) == 0.5
    assert weighing.weight(even[:0], even[:0], np.array([], np.int64)) == 1.0


@pytest.mark.parametrize(("count", "chosen"), [(4, 0.5), (100, 1.0)])
def test_few_samples_decide_little(count: int, chosen: float) -> None:
    """Its own is wrong, everybody's right but less sure: only many samples say so."""
    labels = np.zeros(count, np.int64)
    own, everybody = log_of([[0.2, 0.8]] * count), log_of([[0.6, 0.4]] * count)
    found = weighing.weight(own, everybody, labels)
    assert found == (1.0 if chosen == 1.0 else found)
    assert weighing.weight(everybody, own, labels) == 1 - found
    assert found >= chosen


def test_held_out_samples_are_not_learned_from() -> None:
    labels = np.arange(13) % 3
    seen: list[int] = []

    def learn(learned: Labels, scored: Labels) -> Matrix:
        assert not set(learned) & set(scored)
        assert len(learned) + len(scored) == 13
        seen.extend(scored.tolist())
        return np.full((len(scored), 3), float(len(seen)))

    found = weighing.held_out(learn, labels, 3, seed=1)
    assert sorted(seen) == list(range(13))
    assert (found > 0).all()
    assert weighing.held_out(learn, labels[:0], 3, seed=1).shape == (0, 3)


def test_a_scatter_that_is_not_positive_does_no_harm() -> None:
    """As of rounded moments, or of a client that claims what no samples have."""
    features, labels = samples(0, 400)
    known = statistics.class_sums(features, labels, CLASSES)
    assert known.second_DD is not None
    worse = replace(known, second_DD=known.second_DD - 500 * np.outer([1, 1, 0], [1, 1, 0]))
    own = np.full(CLASSES, 10.0)
    tested, truth = samples(1, 400)
    right = [
        (classifier.gaussian(each, own, SPREAD).log_posteriors(tested).argmax(1) == truth).mean()
        for each in (known, worse)
    ]
    assert right[1] > right[0] - 0.1
