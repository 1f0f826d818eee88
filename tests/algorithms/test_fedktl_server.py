"""FedKTL's server: how it learns to turn prototypes into latents."""

import copy
import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeloop import mmd, wire
from edgeloop.algorithms import fedktl
from edgeloop.algorithms.fedktl import Config, State
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.prototypes import stacked
from tests.algorithms.small_ktl import (
    LABELS_N,
    PROTOTYPES_NC,
    small_config,
    small_generator,
    upload,
)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> OnnxGenerator:
    return small_generator(tmp_path_factory.mktemp("small") / "generator")


@pytest.fixture
def config(generator: OnnxGenerator) -> Config:
    return small_config(generator)


def in_numpy(network: nn.Sequential, prototypes_BC: Tensor) -> NDArray[np.float64]:
    """The transformer's latents while it learns, in double precision."""
    weights = {name: each.double().numpy() for name, each in network.state_dict().items()}
    hidden = prototypes_BC.double().numpy() @ weights["0.weight"].T + weights["0.bias"]
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    hidden = np.maximum(hidden * weights["1.weight"] + weights["1.bias"], 0)
    latents: NDArray[np.float64] = hidden @ weights["3.weight"].T + weights["3.bias"]
    return latents


def kernel(one: NDArray[Any], other: NDArray[Any]) -> float:
    square = np.square(one - other).sum()
    return float(sum(np.exp(-square / (2 * width)) for width in (10, 15, 20, 50)))


def test_the_servers_losses_by_numpy(generator: OnnxGenerator, config: Config) -> None:
    network, centroids_CH = fedktl.restored(fedktl.first_state(config), config)
    prior_BH = generator.sample_latents(len(LABELS_N), 3)
    away, apart = fedktl.alignment(
        network.train(), centroids_CH, PROTOTYPES_NC, LABELS_N, torch.from_numpy(prior_BH), config
    )
    latents = in_numpy(network, PROTOTYPES_NC)
    expected = np.mean(
        [kernel(a, b) for a in latents for b in latents]
        + [kernel(a, b) for a in prior_BH for b in prior_BH]
    ) - np.mean([kernel(a, b) for a in latents for b in prior_BH])
    assert away.item() == pytest.approx(2 * expected, rel=1e-4)
    gap = latents - centroids_CH.numpy()[LABELS_N]
    assert apart.item() == pytest.approx(np.square(gap).mean(), rel=1e-4)


def aligned_by_hand(
    state: State, generator: OnnxGenerator, config: Config
) -> tuple[nn.Sequential, list[float]]:
    """Align with one Adam, whose two groups are clipped by hand; return the last losses too."""
    network, _ = fedktl.restored(state, config)
    exact = config.statistics == "exact"
    with torch.no_grad():
        told_NH = copy.deepcopy(network).train(exact)(PROTOTYPES_NC)
    centroids_CH = torch.stack([told_NH[label == LABELS_N].mean(0) for label in range(3)])
    network.train()
    groups: list[list[Tensor]] = [list(network.parameters()), [centroids_CH.requires_grad_()]]
    adam = torch.optim.Adam([{"params": group} for group in groups], config.server_lr)
    losses: list[Tensor] = []
    for part in fedktl.server_batches(PROTOTYPES_NC, LABELS_N, state.rounds, generator, config):
        latents_BH = network(part[0])
        away = mmd.discrepancy(latents_BH, part[2], mmd.FIXED)
        losses = [away, F.mse_loss(latents_BH, centroids_CH[part[1]])]
        adam.zero_grad()
        (losses[0] + config.anchor * losses[1]).backward()
        for group in groups:
            shorten([each.grad for each in group], config.clip)
        adam.step()
    if exact:
        variance_C = network[0](PROTOTYPES_NC).var(0, correction=0)
        network.load_state_dict({"1.running_var": variance_C}, strict=False)
    return network, [loss.item() for loss in losses]


def shorten(slopes: list[Tensor | None], clip: float) -> None:
    found = [slope for slope in slopes if slope is not None]
    norm = float(torch.cat([slope.flatten() for slope in found]).norm())
    for slope in found:
        slope *= min(1.0, clip / norm)


@pytest.mark.parametrize("clip", [100.0, 1e-6])
@pytest.mark.parametrize("statistics", ["exact", "running"])
def test_aligning_is_adam_on_the_transformer_and_the_centroids(
    generator: OnnxGenerator, config: Config, clip: float, statistics: Literal["exact", "running"]
) -> None:
    config = dataclasses.replace(
        config, clip=clip, anchor=3.0, server_lr=0.1, server_batch=7, statistics=statistics
    )
    state = fedktl.first_state(config)
    network, losses = aligned_by_hand(state, generator, config)
    learned = fedktl.align(state, PROTOTYPES_NC, LABELS_N, generator, config)
    told = fedktl.build(config, generator).measures([], learned, fedktl.no_pairs(config))
    assert told == {"discrepancy": learned.discrepancy, "distance": learned.distance}
    assert [learned.discrepancy, learned.distance] == pytest.approx(losses, rel=1e-3)
    ours, theirs = fedktl.restored(learned, config)[0].state_dict(), network.state_dict()
    # The first bias is taken out by batch normalisation: its slope is rounding, and Adam follows.
    for name in {*fedktl.LAYERS} - {"0.bias", "1.running_mean"}:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-4, rtol=1e-3)


def mean_cosine(latents_CH: Tensor) -> float:
    directions_CH = F.normalize(latents_CH, dim=1)
    return float((directions_CH @ directions_CH.T).mean())


def test_classes_get_latents_of_their_own_while_their_prototypes_are_still_alike(
    generator: OnnxGenerator, config: Config
) -> None:
    exact = dataclasses.replace(config, classes=30, server_epochs=100)
    running = dataclasses.replace(exact, statistics="running")
    random = torch.Generator().manual_seed(0)
    alike_NC = F.normalize(torch.ones(30, 30) + 1e-3 * torch.randn(30, 30, generator=random), dim=1)
    found = {}
    for each in (exact, running):
        first = fedktl.first_state(each)
        learned = fedktl.align(first, alike_NC, torch.arange(30), generator, each)
        found[each.statistics] = torch.from_numpy(learned.centroids_CH)
    assert mean_cosine(found["exact"]) < 0.8
    assert mean_cosine(found["running"]) > 0.99


def test_aligning_lowers_both_losses(generator: OnnxGenerator, config: Config) -> None:
    config = dataclasses.replace(config, server_epochs=150)
    state, _ = fedktl.build(config, generator).start()
    prior_BH = torch.from_numpy(generator.sample_latents(len(LABELS_N), 99))
    learned = fedktl.align(state, PROTOTYPES_NC, LABELS_N, generator, config)
    before, after = (
        fedktl.alignment(*fedktl.restored(each, config), PROTOTYPES_NC, LABELS_N, prior_BH, config)
        for each in (state, learned)
    )
    assert after[0] < before[0] / 2
    assert after[1] < before[1] / 2
    assert learned.discrepancy < before[0].item()
    assert learned.distance < before[1].item()


def test_centroids_become_the_mean_latents_of_their_classes(
    generator: OnnxGenerator, config: Config
) -> None:
    algorithm = fedktl.build(config, generator)
    first, _ = algorithm.start()
    state, _ = algorithm.aggregate(first, [upload(0, 2, seed=1), upload(0, seed=2)])
    network, centroids_CH = fedktl.restored(state, config)
    labels_N, _, prototypes_NC = stacked([upload(0, 2, seed=1), upload(0, seed=2)])
    with torch.no_grad():
        told_NH = network.eval()(prototypes_NC)
    for label in (0, 2):
        torch.testing.assert_close(centroids_CH[label], told_NH[labels_N == label].mean(0))
    assert np.array_equal(state.centroids_CH[1], first.centroids_CH[1])


def test_a_class_without_a_finite_mean_keeps_its_latent() -> None:
    latents_NH = torch.tensor([[1.0, 2.0], [3.0, 6.0], [torch.inf, 1.0], [torch.nan, 1.0]])
    labels_N, old_CH = torch.tensor([0, 0, 2, 3]), torch.full((4, 2), 9.0)
    got_CH = fedktl.class_latents(nn.Identity(), latents_NH, labels_N, old_CH)
    assert got_CH.tolist() == [[2.0, 4.0], [9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]


def test_a_batch_of_one_is_left_out(generator: OnnxGenerator, config: Config) -> None:
    config = dataclasses.replace(config, server_batch=2)

    def sizes(count: int) -> list[int]:
        parts = (PROTOTYPES_NC[:count], LABELS_N[:count], 0, generator, config)
        return [len(labels_B) for _, labels_B, _ in fedktl.server_batches(*parts)]

    assert sizes(3) == [2] * 5
    assert sizes(4) == [2, 2] * 5
    assert sizes(1) == []


def test_each_epoch_of_each_run_shuffles_and_draws_other_latents(
    generator: OnnxGenerator, config: Config
) -> None:
    def batches(number: int, seed: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
        run = dataclasses.replace(config, seed=seed)
        return list(fedktl.server_batches(PROTOTYPES_NC, LABELS_N, number, generator, run))

    drawn = [*batches(0), *batches(1), *batches(0, seed=1)]
    assert len({part[2].numpy().tobytes() for part in drawn}) == 15
    assert len({part[0].numpy().tobytes() for part in drawn}) == 15
    for prototypes_BC, labels_B, prior_BH in drawn:
        assert prototypes_BC.argmax(1).tolist() == labels_B.tolist()
        assert prior_BH.shape == (15, 8)
    for ours, theirs in zip(drawn, batches(0), strict=False):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_nothing_uploaded_nothing_learned(generator: OnnxGenerator, config: Config) -> None:
    algorithm = fedktl.build(config, generator)
    first, _ = algorithm.start()
    state, broadcast = algorithm.aggregate(first, [upload()])
    assert wire.fingerprint(dataclasses.replace(state, rounds=0)) == wire.fingerprint(first)
    assert broadcast.images_NP.shape == (3, 16)


def test_a_single_prototype_sets_its_centroid_and_no_more(
    generator: OnnxGenerator, config: Config
) -> None:
    algorithm = fedktl.build(config, generator)
    first, _ = algorithm.start()
    state, broadcast = algorithm.aggregate(first, [upload(1)])
    assert np.array_equal(state.outer_HC, first.outer_HC)
    assert (state.centroids_CH != first.centroids_CH).any(axis=1).tolist() == [False, True, False]
    assert broadcast.images_NP.shape == (3, 16)


def test_in_many_dimensions_the_median_bandwidth_has_a_slope_and_the_fixed_has_none() -> None:
    random = torch.Generator().manual_seed(0)
    prior_BH = torch.randn(8, 4096, generator=random)

    def slope(bandwidth: Any) -> float:
        config = Config(classes=8, width=5, latent_dim=4096, bandwidth=bandwidth)
        latents_BH = (2 * prior_BH.roll(1, 0) + 0.1).requires_grad_()
        parts = (prior_BH, latents_BH, torch.arange(8), prior_BH, config)
        away, _ = fedktl.alignment(nn.Identity(), *parts)
        (found,) = torch.autograd.grad(away, latents_BH, allow_unused=True)
        return float(found.norm())

    assert slope("fixed") < 1e-12  # rounding
    assert slope("median") > 1e-4
