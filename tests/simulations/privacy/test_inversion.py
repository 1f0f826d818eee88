"""Attacks that work, and one that does not: both can fail."""

import pytest
import torch

from simulations.privacy.exposure import ObservedUpload, observe_upload, upload_kind
from simulations.privacy.inversion import (
    Reconstruction,
    SearchSettings,
    distance,
    invert,
    total_variation,
)
from simulations.privacy.similarity import as_pixels, match_pairs, psnr
from simulations.privacy.victims import Victims
from tests.simulations.privacy.small import CLASSES, SHAPE, client, facts, model


def attacked(
    name: str, victims: Victims, search: SearchSettings, told: bool = True, seed: int = 0
) -> Reconstruction:
    found = observe_upload(name, model(), None, victims.batch, facts(algorithm=name))
    labels = found.labels_B if told else None
    return invert(
        ObservedUpload(found.upload, found.simulate, found.images, labels),
        SHAPE,
        CLASSES,
        search,
        seed,
    )


def best(found: Reconstruction, victims: Victims) -> float:
    return float(psnr(found.images, as_pixels(victims.inputs)).max())


def test_the_gradient_of_one_image_gives_it_away() -> None:
    victims = client(1)
    found = attacked("fedavg", victims, SearchSettings(iterations=150))
    assert best(found, victims) > 30
    assert float(psnr(found.start, as_pixels(victims.inputs))) < 10
    assert found.distance < 1e-4


def test_the_gradient_of_two_images_gives_both_away() -> None:
    victims = client(2)
    found = attacked("fedavg", victims, SearchSettings(iterations=200))
    scores = psnr(found.images, as_pixels(victims.inputs))
    assert scores[[0, 1], match_pairs(scores)].min() > 25


def test_so_does_the_angle_of_the_gradient() -> None:
    victims = client(1)
    found = attacked("fedavg", victims, SearchSettings("cosine", iterations=300, variation=1e-3))
    assert best(found, victims) > 20


def test_labels_are_found_with_the_image() -> None:
    victims = client(1)
    found = attacked("fedavg", victims, SearchSettings(iterations=200), told=False)
    assert found.labels_B.tolist() == victims.labels_B.tolist()
    assert best(found, victims) > 20


@pytest.mark.parametrize("seed", range(3))
def test_a_prototype_of_one_image_gives_it_away_and_one_of_many_does_not(seed: int) -> None:
    assert upload_kind("fedproto").part == "features"
    search = SearchSettings(iterations=200, variation=1e-3)
    alone = client(1, one_class=True, seed=seed)
    assert best(attacked("fedproto", alone, search), alone) > 20
    many = client(20, one_class=True, seed=seed)
    others = as_pixels(many.like(int(many.labels_B[0])))
    blind = psnr(others.mean(0, keepdim=True), as_pixels(many.inputs)).max()
    assert best(attacked("fedproto", many, search), many) < float(blind)


def test_the_same_seed_finds_the_same_images() -> None:
    victims, search = client(1), SearchSettings(iterations=5)
    one, two = attacked("fedavg", victims, search), attacked("fedavg", victims, search)
    assert torch.equal(one.images, two.images)
    other = attacked("fedavg", victims, search, seed=1)
    assert not torch.equal(one.start, other.start)


def test_distances_by_hand() -> None:
    seen = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    made = [torch.tensor([3.0, 1.0]), torch.tensor([2.0])]
    assert float(distance(made, seen, "squared")) == pytest.approx((1 + 4) / 25)
    product, lengths = 9 + 8, 5 * 14**0.5
    assert float(distance(made, seen, "cosine")) == pytest.approx(1 - product / lengths)
    assert float(distance([2 * part for part in seen], seen, "cosine")) == pytest.approx(
        0, abs=1e-6
    )


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 0.5], [1.0, 0.5]]]])
    assert float(total_variation(image)) == pytest.approx((1 + 0) / 2 + (0.5 + 0.5) / 2)
