"""What an upload is taken for: the same as what the client's own images would make."""

import pytest
import torch
import torch.nn.functional as F

from edgeloop import algorithms
from edgeloop.errors import ConfigError
from edgeloop.privacy.dp_sgd import NoiseSecret
from edgeloop.runtime.config import PrivacySettings
from edgeloop.training.sgd import cross_entropy
from simulations.privacy.exposure import (
    UPLOAD_KINDS,
    ObservedUpload,
    check_private,
    infer_labels,
    observe_upload,
    upload_kind,
)
from simulations.privacy.inversion import distance
from simulations.privacy.victims import Victims, train
from tests.simulations.privacy.small import CLASSES, client, facts, model, shares

WEIGHTS = [name for name in UPLOAD_KINDS if upload_kind(name).of_weights]


def exposed(name: str, victims: Victims, stranger: int | None = None) -> ObservedUpload:
    other = None if stranger is None else model(stranger)
    return observe_upload(name, model(), other, victims.batch, facts(algorithm=name))


@pytest.mark.parametrize("name", UPLOAD_KINDS)
def test_the_client_s_own_images_make_its_upload(name: str) -> None:
    victims = client(3, one_class=not upload_kind(name).of_weights)
    found = exposed(name, victims)
    made = found.simulate(victims.inputs, shares(victims.labels_B))
    assert [part.shape for part in made] == [part.shape for part in found.upload]
    assert float(distance(made, found.upload, "squared").detach()) < 1e-6
    strangers = client(3, one_class=not upload_kind(name).of_weights, seed=1)
    other = found.simulate(strangers.inputs, shares(strangers.labels_B))
    assert float(distance(other, found.upload, "squared").detach()) > 1e-3


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_gradient_is_read_from_what_was_sent_and_what_came_back(name: str) -> None:
    victims, mine = client(2), model()
    parts = {"whole": mine.own(), "base": [*mine.base.parameters()], "head": mine.own()[-2:]}
    real = torch.autograd.grad(cross_entropy(mine, victims.batch), parts[UPLOAD_KINDS[name].part])
    for seen, wanted in zip(exposed(name, victims).upload, real, strict=True):
        assert torch.allclose(seen, wanted, atol=1e-5)


def test_with_privacy_the_gradient_is_clipped_and_has_noise() -> None:
    victims, mine = client(2), model()
    secret = NoiseSecret(PrivacySettings(noise=0.5, clip=0.1), b"unknown to the server")
    options = facts(algorithm="fedavg")
    seen = torch.cat(
        [
            part.flatten()
            for part in observe_upload("fedavg", mine, None, victims.batch, options, secret).upload
        ]
    )
    slopes = [
        torch.cat([each.flatten() for each in torch.autograd.grad(loss, mine.own())])
        for loss in (
            cross_entropy(mine, (victims.inputs[one : one + 1], victims.labels_B[one : one + 1]))
            for one in range(2)
        )
    ]
    assert min(gradient.norm() for gradient in slopes) > 0.1
    noise = 2 * seen - 0.1 * sum(gradient / gradient.norm() for gradient in slopes)
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
    found = observe_upload("fedavg", model(), None, victims.batch, options)
    made = found.simulate(victims.inputs, shares(victims.labels_B))
    assert 1e-6 < float(distance(made, found.upload, "squared").detach()) < 0.1


@pytest.mark.parametrize("name", ["fedper", "lgfedavg", "fedproto", "fedktl"])
def test_a_stranger_s_model_makes_another_upload(name: str) -> None:
    victims = client(1, one_class=True)
    found = exposed(name, victims, stranger=7)
    made = found.simulate(victims.inputs, shares(victims.labels_B))
    assert float(distance(made, found.upload, "squared").detach()) > 1e-2


def test_a_whole_model_leaves_nothing_to_guess() -> None:
    victims = client(1)
    found = exposed("fedavg", victims, stranger=7)
    made = found.simulate(victims.inputs, shares(victims.labels_B))
    assert float(distance(made, found.upload, "squared").detach()) < 1e-6


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_label_of_one_image_is_exact(epochs: int) -> None:
    for seed in range(10):
        victims = client(1, one_class=True, seed=seed)
        trained = model(seed)
        train(trained, victims, epochs, seed)
        found = observe_upload("fedavg", trained, None, victims.batch, facts(seed, "fedavg"))
        assert found.labels_B is not None
        assert found.labels_B.tolist() == victims.labels_B.tolist()


def test_the_labels_of_a_batch() -> None:
    # two images of class 1 and one of class 3, a model that is sure of nothing
    gradient = torch.full((4,), 0.25) - torch.tensor([0.0, 2 / 3, 0.0, 1 / 3])
    assert infer_labels(gradient, 3).tolist() == [1, 1, 3]
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
    observe_upload("fedavg", mine, None, victims.batch, facts(algorithm="fedavg"))
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters(), strict=True))


def test_a_mean_direction_has_length_1() -> None:
    (seen,) = exposed("fedktl", client(3, one_class=True)).upload
    assert len(seen) == CLASSES
    assert float(seen.norm()) == pytest.approx(1.0)
    (features,) = exposed("fedproto", client(3, one_class=True)).upload
    assert torch.allclose(features, model()(client(3, one_class=True).inputs)[0].mean(0), atol=1e-5)


def test_an_algorithm_without_an_attack_is_told() -> None:
    assert set(UPLOAD_KINDS) < set(algorithms.names())
    with pytest.raises(ConfigError, match=r"algorithm: there is no attack on Local here; choose"):
        upload_kind("local")
    with pytest.raises(ConfigError, match="there is no 'fedavgg'"):
        upload_kind("fedavgg")


def test_one_hot_shares_are_labels() -> None:
    logits = torch.randn(2, CLASSES, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1, 4])
    assert torch.allclose(F.cross_entropy(logits, shares(labels)), F.cross_entropy(logits, labels))
