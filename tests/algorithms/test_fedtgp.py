import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedtgp
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.models import SplitModel

CONFIG = fedtgp.Config(classes=3, width=8, server_epochs=200, server_lr=0.1)


def upload(*rows: tuple[int, float, float]) -> PrototypeUpload:
    """Prototypes that differ in their first two features alone."""
    prototypes_ND = np.zeros((len(rows), 8), np.float32)
    prototypes_ND[:, :2] = [row[1:] for row in rows]
    return PrototypeUpload(
        np.array([row[0] for row in rows]), np.ones(len(rows), np.int64), prototypes_ND
    )


def test_no_prototypes_before_the_first_round() -> None:
    _, broadcast = fedtgp.build(CONFIG).start()
    assert not broadcast.known_C.any()
    assert broadcast.prototypes_CD.shape == (3, 8)


def test_every_class_gets_a_prototype_even_one_that_nobody_has() -> None:
    algorithm = fedtgp.build(CONFIG)
    _, broadcast = algorithm.aggregate(algorithm.start()[0], [upload((0, 0, 0), (1, 4, 0))])
    assert broadcast.known_C.tolist() == [True, True, True]


def test_prototypes_land_nearest_their_own_class() -> None:
    algorithm = fedtgp.build(CONFIG)
    uploads = [upload((0, 0, 0), (1, 4, 0)), upload((1, 4.2, 0), (2, 0, 4))]
    _, broadcast = algorithm.aggregate(algorithm.start()[0], uploads)
    means = torch.from_numpy(upload((0, 0, 0), (1, 4.1, 0), (2, 0, 4)).prototypes_ND)
    learned = torch.from_numpy(broadcast.prototypes_CD)
    assert torch.cdist(means, learned).argmin(dim=1).tolist() == [0, 1, 2]


def test_the_margin_and_the_loss_are_measured() -> None:
    algorithm = fedtgp.build(CONFIG)
    uploads = [upload((0, 0, 0), (1, 3, 4))]
    state, _ = algorithm.start()
    zeros = GlobalPrototypes(np.ones(3, bool), np.zeros((3, CONFIG.width), np.float32))
    found = algorithm.round_metrics(uploads, state, zeros)
    assert found["margin"] == 5, "the distance of the two classes"
    own = math.exp(-5)  # of one's own class against two others that are as near
    assert found["loss"] == pytest.approx(-math.log(own / (own + 2)), rel=1e-6)
    fixed = fedtgp.build(dataclasses.replace(CONFIG, margin="fixed", margin_cap=7.0))
    assert fixed.round_metrics(uploads, state, zeros)["margin"] == 7


def test_aggregation_is_a_function_of_state_and_uploads() -> None:
    algorithm = fedtgp.build(CONFIG)
    start, _ = algorithm.start()
    before = start.table_CD.copy()
    uploads = [upload((0, 0, 0), (1, 4, 0))]
    first, second = (algorithm.aggregate(start, uploads) for _ in range(2))
    assert np.array_equal(first[1].prototypes_CD, second[1].prototypes_CD)
    assert np.array_equal(start.table_CD, before)
    assert (start.rounds, first[0].rounds) == (0, 1)


def test_nothing_uploaded_nothing_learned() -> None:
    algorithm = fedtgp.build(CONFIG)
    start, _ = algorithm.start()
    nothing = PrototypeUpload(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 8), np.float32))
    state, broadcast = algorithm.aggregate(start, [nothing])
    assert np.array_equal(state.table_CD, start.table_CD)
    assert np.isfinite(broadcast.prototypes_CD).all()


@pytest.mark.parametrize("stale", [True, False])
def test_which_weights_the_uploaded_prototypes_are_of(stale: bool) -> None:
    torch.manual_seed(0)
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2, features=2)
    inputs, labels = torch.randn(8, 2), torch.tensor([0, 1] * 4)
    with torch.no_grad():
        before = model(inputs)[0][labels == 0].mean(0)
    config = fedtgp.Config(classes=2, width=2, stale=stale, local_lr=0.5)
    algorithm = fedtgp.build(config)
    got = algorithm.train(model, Batches(inputs, labels, 4), algorithm.start()[1])
    with torch.no_grad():
        after = model(inputs)[0][labels == 0].mean(0)
    uploaded = torch.from_numpy(got.prototypes_ND[0])
    assert torch.allclose(uploaded, before if stale else after, atol=1e-6)
    assert not torch.allclose(before, after, atol=1e-4)
