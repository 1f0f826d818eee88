"""How a server learns to turn prototypes into latents."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.knowledge import alignment, mmd
from edgeloop.knowledge.alignment import AlignmentTraining, Centroids, State
from edgeloop.knowledge.prototypes import concatenated
from tests.algorithms.small_ktl import LABELS_N, PROTOTYPES_NC, small_generator, upload

RULES = AlignmentTraining(
    epochs=5, lr=0.01, batch=100, clip=100.0, anchor=1.0, widths=mmd.FIXED, centroids="free", seed=0
)
MEANS = dataclasses.replace(RULES, centroids="means")
CLASSES, ENTRIES = 3, 8


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return small_generator(tmp_path_factory.mktemp("small") / "generator")


@pytest.fixture
def state() -> State:
    return alignment.initial_state(CLASSES, ENTRIES, seed=0)


def in_numpy(network: nn.Sequential, prototypes_BC: Tensor) -> NDArray[np.float64]:
    """The transformer's latents, normalised by the batch's own statistics, in double precision."""
    weights = {name: each.double().numpy() for name, each in network.state_dict().items()}
    hidden = prototypes_BC.double().numpy() @ weights["0.weight"].T + weights["0.bias"]
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    hidden = np.maximum(hidden * weights["1.weight"] + weights["1.bias"], 0)
    latents: NDArray[np.float64] = hidden @ weights["3.weight"].T + weights["3.bias"]
    return latents


def kernel(one: NDArray[Any], other: NDArray[Any]) -> float:
    square = np.square(one - other).sum()
    return float(sum(np.exp(-square / (2 * width)) for width in (10, 15, 20, 50)))


def discrepancy(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    within = [kernel(a, b) for each in (ours, theirs) for a in each for b in each]
    across = [kernel(a, b) for a in ours for b in theirs]
    return float(np.sum(within) - 2 * np.sum(across)) / len(ours) ** 2


def losses(state: State, prior_BH: Tensor) -> tuple[float, float]:
    network, centroids_CH = alignment.network_of(state)
    whole = [(PROTOTYPES_NC, LABELS_N, prior_BH)]
    last = alignment.train_alignment(network, centroids_CH.requires_grad_(), whole, RULES)
    assert last is not None
    return last.discrepancy, last.distance


def test_the_servers_losses_by_numpy(generator: OnnxGenerator, state: State) -> None:
    prior_BH = generator.sample_latents(len(LABELS_N), 3)
    away, apart = losses(state, torch.from_numpy(prior_BH))
    latents = in_numpy(alignment.network_of(state)[0], PROTOTYPES_NC)
    assert away == pytest.approx(discrepancy(latents, prior_BH), rel=1e-4)
    gap = latents - state.centroids_CH[LABELS_N]
    assert apart == pytest.approx(np.square(gap).mean(), rel=1e-4)


def test_aligning_lowers_both_losses(generator: OnnxGenerator, state: State) -> None:
    rules = dataclasses.replace(RULES, epochs=150)
    prior_BH = torch.from_numpy(generator.sample_latents(len(LABELS_N), 99))
    learned = alignment.align(state, PROTOTYPES_NC, LABELS_N, generator, rules)
    before, after = losses(state, prior_BH), losses(learned, prior_BH)
    assert after[0] < before[0] / 2
    assert after[1] < before[1] / 2
    assert learned.discrepancy < before[0]
    assert learned.distance < before[1]


def test_centroids_are_drawn_from_the_standard_normal_distribution() -> None:
    centroids = alignment.initial_state(100, 512, seed=3).centroids_CH
    assert abs(centroids.mean()) < 0.01
    assert abs(centroids.std() - 1) < 0.01


def test_free_centroids_move_by_adams_steps_and_are_no_means(
    generator: OnnxGenerator, state: State
) -> None:
    learned = alignment.align(state, PROTOTYPES_NC, LABELS_N, generator, RULES)
    moved = np.abs(learned.centroids_CH - state.centroids_CH)
    assert 0.9 * RULES.lr < np.median(moved) <= moved.max() <= 1.1 * RULES.lr * RULES.epochs
    latents = in_numpy(alignment.network_of(learned)[0], PROTOTYPES_NC)
    means = np.stack([latents[LABELS_N.numpy() == label].mean(axis=0) for label in range(CLASSES)])
    assert np.abs(learned.centroids_CH - means).mean() > 0.5


def test_a_class_that_nobody_has_keeps_its_free_centroid(
    generator: OnnxGenerator, state: State
) -> None:
    labels_N, _, prototypes_NC = concatenated([upload(0, 2, seed=1), upload(0, seed=2)])
    learned = alignment.align(state, prototypes_NC, labels_N, generator, RULES)
    changed = (learned.centroids_CH != state.centroids_CH).any(axis=1)
    assert changed.tolist() == [True, False, True]


def test_as_means_centroids_are_the_mean_latents_of_their_classes(
    generator: OnnxGenerator, state: State
) -> None:
    labels_N, _, prototypes_NC = concatenated([upload(0, 2, seed=1), upload(0, seed=2)])
    learned = alignment.align(state, prototypes_NC, labels_N, generator, MEANS)
    told = in_numpy(alignment.network_of(learned)[0], prototypes_NC)
    for label in (0, 2):
        expected = told[labels_N.numpy() == label].mean(axis=0)
        np.testing.assert_allclose(learned.centroids_CH[label], expected, atol=1e-5)
    assert np.array_equal(learned.centroids_CH[1], state.centroids_CH[1])


def test_as_means_they_are_set_before_the_training_too(
    generator: OnnxGenerator, state: State
) -> None:
    """The first batch then has latents around their class's mean."""
    learned = alignment.align(
        state,
        PROTOTYPES_NC,
        LABELS_N,
        generator,
        dataclasses.replace(MEANS, epochs=1),
    )
    latents = in_numpy(alignment.network_of(state)[0], PROTOTYPES_NC)
    means = np.stack([latents[LABELS_N.numpy() == label].mean(axis=0) for label in range(CLASSES)])
    expected = np.square(latents - means[LABELS_N]).mean()
    assert learned.distance == pytest.approx(expected, rel=1e-4)


def test_a_class_without_a_finite_mean_keeps_its_latent(state: State) -> None:
    network, old_CH = alignment.network_of(state)
    apart_NC = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    got_CH = alignment.class_latents(network, apart_NC, torch.tensor([0, 2]), old_CH)
    assert (got_CH != old_CH).any(dim=1).tolist() == [True, False, True]
    with torch.no_grad():
        list(network.parameters())[-1].fill_(torch.inf)
    kept_CH = alignment.class_latents(network, apart_NC, torch.tensor([0, 2]), old_CH)
    assert torch.equal(kept_CH, old_CH)


def mean_cosine(latents_CH: NDArray[np.float32]) -> float:
    directions_CH = F.normalize(torch.from_numpy(latents_CH), dim=1)
    return float((directions_CH @ directions_CH.T).mean())


@pytest.mark.parametrize("centroids", ["free", "means"])
def test_classes_get_latents_of_their_own_while_their_prototypes_are_still_alike(
    generator: OnnxGenerator, centroids: Centroids
) -> None:
    rules = dataclasses.replace(RULES, epochs=100, centroids=centroids)
    random = torch.Generator().manual_seed(0)
    alike_NC = F.normalize(torch.ones(30, 30) + 1e-3 * torch.randn(30, 30, generator=random), dim=1)
    first = alignment.initial_state(30, ENTRIES, seed=0)
    learned = alignment.align(first, alike_NC, torch.arange(30), generator, rules)
    assert mean_cosine(learned.centroids_CH) < 0.8


def test_a_batch_of_one_is_left_out(generator: OnnxGenerator) -> None:
    rules = dataclasses.replace(RULES, batch=2)

    def sizes(count: int) -> list[int]:
        parts = (PROTOTYPES_NC[:count], LABELS_N[:count], 0, generator, rules)
        return [len(labels_B) for _, labels_B, _ in alignment.batches(*parts)]

    assert sizes(3) == [2] * 5
    assert sizes(4) == [2, 2] * 5
    assert sizes(1) == []


def test_each_epoch_of_each_run_shuffles_and_draws_other_latents(generator: OnnxGenerator) -> None:
    def batches(number: int, seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
        rules = dataclasses.replace(RULES, seed=seed)
        return list(alignment.batches(PROTOTYPES_NC, LABELS_N, number, generator, rules))

    drawn = [*batches(0), *batches(1), *batches(0, seed=1)]
    assert len({part[2].numpy().tobytes() for part in drawn}) == 15
    assert len({part[0].numpy().tobytes() for part in drawn}) == 15
    for prototypes_BC, labels_B, prior_BH in drawn:
        assert prototypes_BC.argmax(1).tolist() == labels_B.tolist()
        assert prior_BH.shape == (15, ENTRIES)
    for ours, theirs in zip(drawn, batches(0), strict=False):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("centroids", "set_"), [("free", [False] * 3), ("means", [False, True, False])]
)
def test_a_single_prototype_teaches_nothing(
    generator: OnnxGenerator, state: State, centroids: Centroids, set_: list[bool]
) -> None:
    """As a mean it is its class's latent nevertheless."""
    rules = dataclasses.replace(RULES, centroids=centroids)
    labels_N, _, prototypes_NC = concatenated([upload(1)])
    learned = alignment.align(state, prototypes_NC, labels_N, generator, rules)
    assert np.array_equal(learned.outer_HC, state.outer_HC)
    assert (learned.centroids_CH != state.centroids_CH).any(axis=1).tolist() == set_
    assert np.isfinite(learned.centroids_CH).all()


@pytest.mark.parametrize("rules", [RULES, MEANS])
def test_nothing_uploaded_nothing_learned(
    generator: OnnxGenerator, state: State, rules: AlignmentTraining
) -> None:
    labels_N, _, prototypes_NC = concatenated([upload()])
    learned = alignment.align(state, prototypes_NC, labels_N, generator, rules)
    for name in alignment.ARRAYS:
        assert np.array_equal(getattr(learned, name), getattr(state, name))
    assert (learned.rounds, learned.discrepancy, learned.distance) == (1, 0.0, 0.0)


def test_in_many_dimensions_the_median_bandwidth_has_a_slope_and_the_fixed_has_none() -> None:
    random = torch.Generator().manual_seed(0)
    prior_BH = torch.randn(8, 4096, generator=random)

    def slope(widths: Any) -> float:
        latents_BH = (2 * prior_BH.roll(1, 0) + 0.1).requires_grad_()
        away = mmd.discrepancy(latents_BH, prior_BH, widths)
        (found,) = torch.autograd.grad(away, latents_BH)
        return float(found.norm())

    assert slope(mmd.FIXED) < 1e-12  # rounding
    assert slope(None) > 1e-4


def test_the_floor_is_the_discrepancy_of_latents_that_are_the_priors_own(
    generator: OnnxGenerator, state: State
) -> None:
    learned = alignment.align(state, PROTOTYPES_NC, LABELS_N, generator, RULES)
    labels = np.repeat(np.arange(CLASSES), 5)
    drawn = [
        discrepancy(
            generator.sample_latents(CLASSES, seed)[labels],
            generator.sample_latents(len(labels), 1000 + seed),
        )
        for seed in range(20)
    ]
    assert learned.floor == pytest.approx(np.mean(drawn), abs=3 * float(np.std(drawn)))
    assert learned.floor > 0


def measures(**changes: float) -> dict[str, float]:
    learned = {"discrepancy": 0.29, "discrepancy_floor": 0.37}
    return {**learned, "distance": 0.52, "prior_variance": 0.6, **changes}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, False),
        ({"discrepancy": 2.19}, True),
        ({"distance": 1.15}, True),
        ({"discrepancy": 0.73, "distance": 0.89}, False),
        ({"discrepancy": 0.19, "discrepancy_floor": 0.06}, False),  # of a hundred classes
        ({"discrepancy": 0.55, "discrepancy_floor": 0.06}, True),
    ],
)
def test_losses_that_are_not_small_are_told(changes: dict[str, float], told: bool) -> None:
    found = alignment.metric_warnings(measures(**changes))
    assert list(found) == (["untrained"] if told else [])
    if told:
        assert "edgeloop tune fedktl" in found["untrained"]
        value = next(iter(changes.values()))
        assert f"{value:.2f}" in found["untrained"]
