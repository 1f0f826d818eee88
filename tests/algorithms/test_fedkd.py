import dataclasses

import numpy as np
import pytest
import torch

from edgeloop import models
from edgeloop.algorithm import Algorithm, Batches
from edgeloop.algorithms import fedkd
from edgeloop.algorithms.fedkd import Factors, Mentee, State
from edgeloop.knowledge import low_rank, mutual_distillation, weights
from edgeloop.knowledge.low_rank import RAW
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

CONFIG = fedkd.Config(
    classes=3, width=4, shape=(1, 16, 16), local_lr=0.1, mentee_lr=0.2, horizon=10, repaired=True
)
IMAGES = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
BATCHES = Batches(IMAGES, torch.tensor([0, 1, 2, 0]), 4)
KD = Algorithm[State, Factors, Mentee]


def client(algorithm: KD) -> SplitModel:
    model = models.build("cnn", CONFIG.shape, 3, 4, seed=1)
    algorithm.init_client_state(model)
    return model


# ---- what travels


def test_uploads_and_broadcasts_are_checked() -> None:
    algorithm = fedkd.build(CONFIG)
    state, broadcast = algorithm.start()
    assert algorithm.sizes == {"T": len(broadcast.ranks_T)}
    algorithm.check(Factors(broadcast.ranks_T, broadcast.factors_F))
    short = broadcast.factors_F[:-1]
    with pytest.raises(ValueError, match="floats where"):
        algorithm.check(Factors(broadcast.ranks_T, short))
    with pytest.raises(ValueError, match="floats where"):
        algorithm.aggregate(state, [Factors(broadcast.ranks_T, short)])
    with pytest.raises(ValueError, match="floats where"):
        algorithm.load_broadcast(
            client(algorithm), BATCHES, dataclasses.replace(broadcast, factors_F=short)
        )


# ---- the server


def test_the_energy_rises_linearly_to_its_end() -> None:
    # 0.95 + r / 10 x 0.03
    found = [fedkd.energy(round_number, CONFIG) for round_number in (0, 1, 5, 10, 11)]
    assert found == pytest.approx([0.95, 0.953, 0.965, 0.98, 0.98])


def test_the_first_mentee_is_whole_and_the_seeds() -> None:
    algorithm = fedkd.build(CONFIG)
    _, broadcast = algorithm.start()
    expected = weights.flat(models.build("cnn", CONFIG.shape, 3, 4).own())
    assert broadcast.factors_F.tolist() == expected.tolist()
    assert set(broadcast.ranks_T.tolist()) == {RAW}
    assert broadcast.energy == 0.95


def test_the_server_averages_what_it_expands_clients_alike() -> None:
    algorithm = fedkd.build(dataclasses.replace(CONFIG, energy_start=0.2, energy_end=0.9))
    _, broadcast = algorithm.start()
    raw = broadcast.ranks_T
    scaled = [Factors(raw, broadcast.factors_F * np.float32(factor)) for factor in (1, 3)]
    state, mean = algorithm.aggregate(State(1), scaled)
    shapes = [tuple(each.shape) for each in models.build("cnn", CONFIG.shape, 3, 4).own()]
    # Twice the first; energies 0.2 + r / 10 x 0.7, of this round and for the clients' next.
    expected = low_rank.compress(broadcast.factors_F * np.float32(2), shapes, 0.27, repaired=True)
    assert mean.ranks_T.tolist() == expected[0].tolist()
    np.testing.assert_allclose(mean.factors_F, expected[1], atol=1e-4)
    assert mean.energy == pytest.approx(0.34)
    assert state == State(2)


def test_the_server_expands_before_it_averages() -> None:
    algorithm = fedkd.build(CONFIG)
    _, broadcast = algorithm.start()
    shapes = [tuple(each.shape) for each in models.build("cnn", CONFIG.shape, 3, 4).own()]
    short = low_rank.compress(broadcast.factors_F, shapes, 0.3, repaired=True)
    _, mean = algorithm.aggregate(State(0), [Factors(*fedkd.arrays(broadcast)), Factors(*short)])
    middle = (broadcast.factors_F + low_rank.reconstruct(*short, shapes)) / 2
    packed = low_rank.compress(middle, shapes, 0.95, repaired=True)
    found = low_rank.reconstruct(*fedkd.arrays(mean), shapes)
    assert len(short[1]) < len(broadcast.factors_F)
    np.testing.assert_allclose(found, low_rank.reconstruct(*packed, shapes), atol=1e-4)


# ---- the client


def test_a_client_keeps_its_mentee_and_w() -> None:
    algorithm = fedkd.build(CONFIG)
    model = client(algorithm)
    torch.manual_seed(0)
    expected = torch.nn.Linear(4, 4, bias=False).weight
    assert torch.equal(model.kept["projection"].weight, expected)  # type: ignore[arg-type]
    _, broadcast = algorithm.start()
    assert weights.flat(fedkd.mentee_of(model).own()).tolist() == broadcast.factors_F.tolist()
    algorithm.train(model, BATCHES, broadcast)
    other = client(algorithm)
    other.load_state_dict(model.state_dict())
    sent = algorithm.train(model, BATCHES, broadcast)
    again = algorithm.train(other, BATCHES, broadcast)
    assert sent.factors_F.tolist() == again.factors_F.tolist()
    fresh = algorithm.train(client(algorithm), BATCHES, broadcast)
    assert sent.factors_F.tolist() != fresh.factors_F.tolist()


def test_a_broadcast_replaces_the_mentee_only() -> None:
    algorithm = fedkd.build(CONFIG)
    model = client(algorithm)
    before = [parameter.detach().clone() for parameter in model.own()]
    _, broadcast = algorithm.start()
    doubled = dataclasses.replace(broadcast, factors_F=2 * broadcast.factors_F)
    algorithm.load_broadcast(model, BATCHES, doubled)
    assert weights.flat(fedkd.mentee_of(model).own()).tolist() == doubled.factors_F.tolist()
    assert all(map(torch.equal, before, model.own()))


@pytest.mark.parametrize("clip", [10.0, 0.01])
def test_teacher_mentee_and_w_descend_both_losses_each_clipped_alone(clip: float) -> None:
    config = dataclasses.replace(CONFIG, clip=clip)
    algorithm = fedkd.build(config)
    model = client(algorithm)
    mentee, projection = fedkd.mentee_of(model), model.kept["projection"]
    (matrix,) = projection.parameters()
    both = mutual_distillation.adaptive_loss(model(IMAGES), mentee(IMAGES), BATCHES.labels, matrix)
    expected = []
    for group, rate in ((model.own(), 0.1), (mentee.own(), 0.2), ([matrix], 0.1)):
        slopes = torch.autograd.grad(both, group, retain_graph=True)
        norm = torch.cat([slope.reshape(-1) for slope in slopes]).norm().item()
        scale = rate * min(1.0, clip / norm)
        expected.append(weights.flat(p - scale * s for p, s in zip(group, slopes, strict=True)))
    algorithm.train(model, BATCHES, algorithm.start()[1])
    for found, wanted in zip((model.own(), mentee.own(), [matrix]), expected, strict=True):
        np.testing.assert_allclose(weights.flat(found), wanted, atol=1e-6)


@pytest.mark.parametrize("energy", [0.5, 0.95])
def test_the_upload_is_the_trained_mentee_with_the_rounds_energy(energy: float) -> None:
    algorithm = fedkd.build(CONFIG)
    model = client(algorithm)
    broadcast = dataclasses.replace(algorithm.start()[1], energy=energy)
    sent = algorithm.train(model, BATCHES, broadcast)
    algorithm.check(sent)
    mentee = fedkd.mentee_of(model).own()
    shapes = [tuple(parameter.shape) for parameter in mentee]
    ranks, floats = low_rank.compress(weights.flat(mentee), shapes, energy, repaired=True)
    assert sent.ranks_T.tolist() == ranks.tolist()
    assert sent.factors_F.tolist() == floats.tolist()


def test_a_client_without_a_full_batch_sends_the_mentee_back() -> None:
    algorithm = fedkd.build(dataclasses.replace(CONFIG, energy_start=1.0, energy_end=1.0))
    model = client(algorithm)
    _, broadcast = algorithm.start()
    sent = algorithm.train(model, Batches(IMAGES, BATCHES.labels, 5), broadcast)
    # All the energy: the full ranks, which are longer than raw for all but flat tensors.
    shapes = [tuple(parameter.shape) for parameter in fedkd.mentee_of(model).own()]
    whole = low_rank.reconstruct(*fedkd.arrays(sent), shapes)
    np.testing.assert_allclose(whole, broadcast.factors_F, atol=1e-5)
    assert len(sent.factors_F) <= len(broadcast.factors_F)


def test_classification_and_loss_are_the_teachers(identity: SplitModel) -> None:
    algorithm = fedkd.build(CONFIG)
    assert algorithm.predict(identity, torch.tensor([[3.0, 5.0]]), None).tolist() == [[3.0, 5.0]]
    assert algorithm.loss is cross_entropy
