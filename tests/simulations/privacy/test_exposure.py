"""What an upload is taken for: the same as what the client's own images would make."""

import pytest
import torch
import torch.nn.functional as F

from edgeloop import algorithms
from edgeloop.errors import ConfigError
from edgeloop.privacy.dp_sgd import Secret
from edgeloop.runtime.config import PrivacySettings
from edgeloop.training.sgd import cross_entropy
from simulations.privacy.exposure import (
    SHARING,
    Exposed,
    check_private,
    expose,
    infer_labels,
    sharing,
)
from simulations.privacy.inversion import distance
from simulations.privacy.victims import Victims, train
from tests.simulations.privacy.small import CLASSES, client, facts, model, shares

WEIGHTS = [name for name in SHARING if sharing(name).of_weights]


def exposed(name: str, victims: Victims, stranger: int | None = None) -> Exposed:
    other = None if stranger is None else model(stranger)
    return expose(name, model(), other, victims.batch, facts(algorithm=name))


@pytest.mark.parametrize("name", SHARING)
def test_the_client_s_own_images_make_its_upload(name: str) -> None:
    victims = client(3, one_class=not sharing(name).of_weights)
    found = exposed(name, victims)
    made = found.made(victims.inputs, shares(victims.labels_B))
    assert [part.shape for part in made] == [part.shape for part in found.seen]
    assert float(distance(made, found.seen, "squared").detach()) < 1e-6
    strangers = client(3, one_class=not sharing(name).of_weights, seed=1)
    other = found.made(strangers.inputs, shares(strangers.labels_B))
    assert float(distance(other, found.seen, "squared").detach()) > 1e-3


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_gradient_is_read_from_what_was_sent_and_what_came_back(name: str) -> None:
    victims, mine = client(2), model()
    parts = {"whole": mine.own(), "base": [*mine.base.parameters()], "head": mine.own()[-2:]}
    real = torch.autograd.grad(cross_entropy(mine, victims.batch), parts[SHARING[name].part])
    for seen, wanted in zip(exposed(name, victims).seen, real, strict=True):
        assert torch.allclose(seen, wanted, atol=1e-5)


def test_with_privacy_the_gradient_is_clipped_and_has_noise() -> None:
    victims, mine = client(2), model()
    secret = Secret(PrivacySettings(noise=0.5, clip=0.1), b"unknown to the server")
    options = facts(algorithm="fedavg")
    seen = torch.cat(
        [
            part.flatten()
            for part in expose("fedavg", mine, None, victims.batch, options, secret).seen
        ]
    )
    slopes = [
        torch.cat([each.flatten() for each in torch.autograd.grad(loss, mine.own())])
        for loss in (
            cross_entropy(mine, (victims.inputs[one : one + 1], victims.labels_B[one : one + 1]))
            for one in range(2)
        )
    ]
    assert min(slope.norm() for slope in slopes) > 0.1
    noise = 2 * seen - 0.1 * sum(slope / slope.norm() for slope in slopes)
    assert float(noise.std()) == pytest.approx(0.5 * 0.1, rel=0.02)


def test_with_privacy_prototypes_of_few_images_are_not_attacked() -> None:
    for name in ("fedproto", "fedktl"):
        with pytest.raises(ConfigError, match=r"of few images .* there is nothing to attack"):
            check_private(name, algorithms.load(name, None, **facts(algorithm=name)))
    with pytest.raises(ConfigError, match="a round of ditto is more than one descent"):
        check_private("ditto", algorithms.load("ditto", None, **facts(algorithm="ditto")))


def test_several_steps_give_their_mean_gradient() -> None:
    victims = client(1)
    options = {**facts(algorithm="fedavg"), "local_epochs": 3}
    found = expose("fedavg", model(), None, victims.batch, options)
    made = found.made(victims.inputs, shares(victims.labels_B))
    assert 1e-6 < float(distance(made, found.seen, "squared").detach()) < 0.1


@pytest.mark.parametrize("name", ["fedper", "lgfedavg", "fedproto", "fedktl"])
def test_a_stranger_s_model_makes_another_upload(name: str) -> None:
    victims = client(1, one_class=True)
    found = exposed(name, victims, stranger=7)
    made = found.made(victims.inputs, shares(victims.labels_B))
    assert float(distance(made, found.seen, "squared").detach()) > 1e-2


def test_a_whole_model_leaves_nothing_to_guess() -> None:
    victims = client(1)
    found = exposed("fedavg", victims, stranger=7)
    made = found.made(victims.inputs, shares(victims.labels_B))
    assert float(distance(made, found.seen, "squared").detach()) < 1e-6


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_label_of_one_image_is_exact(epochs: int) -> None:
    for seed in range(10):
        victims = client(1, one_class=True, seed=seed)
        trained = model(seed)
        train(trained, victims, epochs, seed)
        found = expose("fedavg", trained, None, victims.batch, facts(seed, "fedavg"))
        assert found.labels_B is not None
        assert found.labels_B.tolist() == victims.labels_B.tolist()


def test_the_labels_of_a_batch() -> None:
    # two images of class 1 and one of class 3, a model that is sure of nothing
    slope = torch.full((4,), 0.25) - torch.tensor([0.0, 2 / 3, 0.0, 1 / 3])
    assert infer_labels(slope, 3).tolist() == [1, 1, 3]
    victims = client(8)
    found = exposed("fedavg", victims).labels_B
    assert found is not None
    assert found.tolist() == sorted(victims.labels_B.tolist())


def test_a_base_does_not_tell_the_labels_and_a_prototype_does() -> None:
    assert exposed("fedper", client(2)).labels_B is None
    victims = client(2, one_class=True)
    found = exposed("fedtgp", victims).labels_B
    assert found is not None
    assert found.tolist() == victims.labels_B[:1].tolist()


def test_the_client_s_model_is_left_as_it_is() -> None:
    mine, victims = model(), client(2)
    before = [parameter.clone() for parameter in mine.parameters()]
    expose("fedavg", mine, None, victims.batch, facts(algorithm="fedavg"))
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters(), strict=True))


def test_a_mean_direction_has_length_1() -> None:
    (seen,) = exposed("fedktl", client(3, one_class=True)).seen
    assert len(seen) == CLASSES
    assert float(seen.norm()) == pytest.approx(1.0)
    (features,) = exposed("fedproto", client(3, one_class=True)).seen
    assert torch.allclose(features, model()(client(3, one_class=True).inputs)[0].mean(0), atol=1e-5)


def test_an_algorithm_without_an_attack_is_told() -> None:
    assert set(SHARING) < set(algorithms.names())
    with pytest.raises(ConfigError, match=r"algorithm: there is no attack on Local here; choose"):
        sharing("local")
    with pytest.raises(ConfigError, match="there is no 'fedavgg'"):
        sharing("fedavgg")


def test_one_hot_shares_are_labels() -> None:
    logits = torch.randn(2, CLASSES)
    labels = torch.tensor([1, 4])
    assert torch.allclose(F.cross_entropy(logits, shares(labels)), F.cross_entropy(logits, labels))
