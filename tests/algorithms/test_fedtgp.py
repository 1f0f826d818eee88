import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedtgp
from edgeloop.models import SplitModel
from edgeloop.prototypes import PrototypeUpload

CONFIG = fedtgp.Config(classes=3, width=8, server_epochs=200, server_lr=0.1)


def upload(*rows: tuple[int, float, float]) -> PrototypeUpload:
    """Prototypes that differ in their first two features alone."""
    prototypes_ND = np.zeros((len(rows), 8), np.float32)
    prototypes_ND[:, :2] = [row[1:] for row in rows]
    return PrototypeUpload(
        np.array([row[0] for row in rows]), np.ones(len(rows), np.int64), prototypes_ND
    )


def test_the_first_weights_are_torchs_in_the_released_order() -> None:
    state = fedtgp.first_state(fedtgp.Config(classes=3, width=8, seed=5))
    torch.manual_seed(5)
    assert np.array_equal(state.table_CD, nn.Embedding(3, 8).weight.detach().numpy())
    inner, outer = nn.Linear(8, 8), nn.Linear(8, 8)
    assert np.array_equal(state.inner_DD, inner.weight.detach().numpy())
    assert np.array_equal(state.outer_D, outer.bias.detach().numpy())


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


@pytest.mark.parametrize(
    ("margin", "cap", "expected"),
    [("nearest", 100.0, 4.0), ("all-pairs", 100.0, 5.0), ("nearest", 2.5, 2.5)],
)
def test_the_margin_by_hand(margin: str, cap: float, expected: float) -> None:
    # Class means (0,0), (3,0), (0,4): nearest others at 3, 3 and 4; the largest distance is 5.
    config = fedtgp.Config(classes=5, width=8, margin=margin, margin_cap=cap)  # type: ignore[arg-type]  # a parameter
    rows = upload((0, 0, 0), (1, 3, 0), (4, 0, 4))
    got = fedtgp.adaptive_margin(
        torch.from_numpy(rows.prototypes_ND), torch.from_numpy(rows.labels_N), config
    )
    assert got == expected


def test_the_margin_of_a_single_class_is_zero() -> None:
    assert fedtgp.adaptive_margin(torch.ones(2, 8), torch.tensor([1, 1]), CONFIG) == 0.0


def test_the_contrastive_loss_by_hand() -> None:
    uploaded, learned = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 6.0]])
    # Distances 5 and 6; the own class (0) is handicapped by 2: logits -7 and -6.
    got = fedtgp.contrastive_loss(uploaded, torch.tensor([0]), learned, margin=2.0)
    assert got.item() == pytest.approx(math.log(1 + math.e))


def test_the_contrastive_loss_has_a_gradient_at_distance_zero() -> None:
    learned = torch.eye(2, requires_grad=True)
    loss = fedtgp.contrastive_loss(torch.eye(2), torch.arange(2), learned, margin=1.0)
    (slope,) = torch.autograd.grad(loss, learned)
    assert slope.isfinite().all()


def test_a_step_is_what_autograd_and_sgd_would_do() -> None:
    state = fedtgp.first_state(CONFIG)
    by_hand = [torch.tensor(array) for array in fedtgp.arrays(state)]
    by_torch = [torch.tensor(array, requires_grad=True) for array in fedtgp.arrays(state)]
    goal = torch.arange(24.0).reshape(3, 8)
    F.mse_loss(fedtgp.trainable_prototypes(by_torch)[0], goal).backward()
    torch.optim.SGD(by_torch, lr=0.1).step()
    learned, hidden = fedtgp.trainable_prototypes(by_hand)
    fedtgp.step(by_hand, hidden, 2 * (learned - goal) / goal.numel(), lr=0.1)
    for ours, theirs in zip(by_hand, by_torch, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("stale", [True, False])
def test_which_weights_the_uploaded_prototypes_are_of(stale: bool) -> None:
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
