import math

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import algorithms
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedorgp
from edgeloop.knowledge import prototype_network
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.models import SplitModel

CONFIG = fedorgp.Config(classes=3, width=8)
CPU = torch.device("cpu")


def upload(*rows: tuple[int, float, float]) -> PrototypeUpload:
    """Prototypes that differ in their first two features alone."""
    prototypes_ND = np.zeros((len(rows), 8), np.float32)
    prototypes_ND[:, :2] = [row[1:] for row in rows]
    return PrototypeUpload(
        np.array([row[0] for row in rows]), np.ones(len(rows), np.int64), prototypes_ND
    )


UPLOADS = [upload((0, 4, 1), (1, 1, 4)), upload((1, 1, 3), (2, -3, -3))]
RIGHT_ANGLES = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
SLANTED = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
"""Their cosine is 0.6."""


def config(**options: object) -> fedorgp.Config:
    made: fedorgp.Config = algorithms.config("fedorgp", classes=2, width=2, **options)
    return made


def test_the_loss_by_hand(identity: SplitModel) -> None:
    algorithm = fedorgp.build(config(pull=3.0))
    broadcast = GlobalPrototypes(np.array([True, False]), np.array([[2, 0], [0, 0]], np.float32))
    goal = algorithm.targets(broadcast, CPU)
    batch = torch.tensor([[5.0, 5.0], [7.0, 7.0]]), torch.tensor([0, 1])
    # Equal logits: log 2. Cosine of (5, 5) and (2, 0) is 1 / sqrt 2; class 1 has no prototype.
    away = (1 - 1 / math.sqrt(2)) / 2
    assert algorithm.loss(identity, batch, goal).item() == pytest.approx(math.log(2) + 3 * away)


def test_a_feature_of_length_zero_has_a_loss_and_a_slope(identity: SplitModel) -> None:
    algorithm = fedorgp.build(config())
    goal = algorithm.targets(GlobalPrototypes(np.ones(2, bool), np.eye(2, dtype=np.float32)), CPU)
    inputs = torch.zeros(1, 2, requires_grad=True)
    loss = algorithm.loss(identity, (inputs, torch.tensor([0])), goal)
    assert loss.item() == pytest.approx(math.log(2) + 1)
    assert torch.autograd.grad(loss, inputs)[0].isfinite().all()


def test_scores_are_cosines_of_the_classes_that_have_a_prototype(identity: SplitModel) -> None:
    algorithm = fedorgp.build(config())
    broadcast = GlobalPrototypes(np.array([True, False]), np.array([[6, 8], [1, 0]], np.float32))
    goal = algorithm.targets(broadcast, CPU)
    scores = algorithm.predict(identity, torch.tensor([[2.0, 0.0], [0.0, 0.0]]), goal)
    # (2, 0) and (6, 8): 12 / (2 x 10).
    assert scores[:, 0].tolist() == pytest.approx([0.6, 0.0])
    assert scores[:, 1].tolist() == [-math.inf] * 2


def test_no_sample_has_a_class_before_there_are_prototypes(identity: SplitModel) -> None:
    algorithm = fedorgp.build(config())
    goal = algorithm.targets(algorithm.start()[1], CPU)
    assert not algorithm.predict(identity, torch.ones(1, 2), goal).isfinite().any()


@pytest.mark.parametrize(("penalty", "expected"), [("squared", 0.36), ("absolute", 0.6)])
def test_the_overlap_by_hand(penalty: str, expected: float) -> None:
    assert fedorgp.overlap(SLANTED, penalty).item() == pytest.approx(expected)
    assert fedorgp.overlap(-SLANTED * torch.tensor([[1.0], [-1.0]]), penalty).item() == (
        pytest.approx(expected)
    )
    assert fedorgp.overlap(RIGHT_ANGLES, penalty).item() == 0.0
    # A third at right angles to one and at 0.8 to the other: pairs 0.6, 0 and 0.8.
    three = torch.cat([SLANTED, torch.tensor([[0.0, 9.0]])])
    pairs = {"squared": (0.36 + 0.64) / 3, "absolute": (0.6 + 0.8) / 3}
    assert fedorgp.overlap(three, penalty).item() == pytest.approx(pairs[penalty])


def test_a_single_class_overlaps_with_none() -> None:
    assert fedorgp.overlap(torch.ones(1, 2), "squared").item() == 0.0


def test_our_servers_loss_by_hand() -> None:
    uploaded, labels = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1])
    # Cosines (1, 0.6) and (0, 0.8); overlap 0.36, weight 2.
    first = math.log(1 + math.exp(0.6 - 1))
    second = math.log(1 + math.exp(0 - 0.8))
    got = fedorgp.softmax_loss(uploaded, labels, SLANTED, config(apart=2.0))
    assert got.item() == pytest.approx((first + second) / 2 + 2 * 0.36)


def test_the_published_servers_loss_by_hand() -> None:
    uploaded, labels = torch.tensor([[-2.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1])
    # Cosines (-1, -0.6) and (0, 0.8): (1 + 1) + 2 x 0.6, and (1 - 0.8) + 2 x 0.
    got = fedorgp.angular_loss(uploaded, labels, SLANTED, config(apart=2.0))
    assert got.item() == pytest.approx(3.2 + 0.2)


@pytest.mark.parametrize("objective", ["softmax", "angular"])
def test_a_round_is_one_step_of_the_chosen_loss(objective: str) -> None:
    settings: fedorgp.Config = algorithms.config(
        "fedorgp", classes=3, width=8, objective=objective, server_epochs=1, apart=0.5
    )
    algorithm = fedorgp.build(settings)
    start, _ = algorithm.start()
    state, broadcast = algorithm.aggregate(start, UPLOADS)
    parameters = [
        torch.tensor(array, requires_grad=True) for array in prototype_network.arrays(start)
    ]
    learned, _ = prototype_network.global_prototypes(parameters)
    uploaded = torch.from_numpy(np.concatenate([one.prototypes_ND for one in UPLOADS]))
    loss = {"softmax": fedorgp.softmax_loss, "angular": fedorgp.angular_loss}[objective]
    loss(uploaded, torch.tensor([0, 1, 1, 2]), learned, settings).backward()
    torch.optim.SGD(parameters, lr=0.01).step()
    for ours, theirs in zip(prototype_network.arrays(state), parameters, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-6)
    expected = prototype_network.global_prototypes(parameters)[0].detach().numpy()
    np.testing.assert_allclose(broadcast.prototypes_CD, expected, atol=1e-6)


def test_prototypes_point_to_their_own_class_and_stand_apart() -> None:
    settings = fedorgp.Config(classes=3, width=8, server_epochs=400, server_lr=0.2)
    algorithm = fedorgp.build(settings)
    start, _ = algorithm.start()
    _, broadcast = algorithm.aggregate(start, UPLOADS)
    learned = torch.from_numpy(broadcast.prototypes_CD)
    uploaded = torch.from_numpy(np.concatenate([one.prototypes_ND for one in UPLOADS]))
    assert fedorgp.cosines(uploaded, learned).argmax(dim=1).tolist() == [0, 1, 1, 2]
    together = fedorgp.Config(classes=3, width=8, server_epochs=400, server_lr=0.2, apart=0.0)
    _, without = fedorgp.build(together).aggregate(start, UPLOADS)
    assert fedorgp.overlap(learned, "squared") < fedorgp.overlap(
        torch.from_numpy(without.prototypes_CD), "squared"
    )


def test_every_class_gets_a_prototype_even_one_that_nobody_has() -> None:
    algorithm = fedorgp.build(CONFIG)
    _, broadcast = algorithm.aggregate(algorithm.start()[0], UPLOADS[:1])
    assert broadcast.known_C.tolist() == [True, True, True]
    assert np.isfinite(broadcast.prototypes_CD).all()


def test_aggregation_is_a_function_of_state_and_uploads() -> None:
    settings = fedorgp.Config(classes=3, width=8, server_batch=1, server_epochs=3)
    algorithm = fedorgp.build(settings)
    start, _ = algorithm.start()
    before = start.table_CD.copy()
    first, second = (algorithm.aggregate(start, UPLOADS) for _ in range(2))
    assert np.array_equal(first[1].prototypes_CD, second[1].prototypes_CD)
    assert np.array_equal(start.table_CD, before)
    assert (start.rounds, first[0].rounds) == (0, 1)
    other = fedorgp.Config(classes=3, width=8, server_batch=1, server_epochs=3, seed=1)
    _, elsewhere = fedorgp.build(other).aggregate(start, UPLOADS)
    assert not np.array_equal(first[1].prototypes_CD, elsewhere.prototypes_CD)


def test_nothing_uploaded_nothing_learned() -> None:
    algorithm = fedorgp.build(CONFIG)
    start, _ = algorithm.start()
    nothing = PrototypeUpload(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 8), np.float32))
    state, broadcast = algorithm.aggregate(start, [nothing])
    assert np.array_equal(state.table_CD, start.table_CD)
    assert np.isfinite(broadcast.prototypes_CD).all()


def test_the_upload_is_of_the_trained_weights() -> None:
    torch.manual_seed(0)
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2, features=2)
    inputs = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1] * 4)
    algorithm = fedorgp.build(config(local_lr=0.5))
    with torch.no_grad():
        before = model(inputs)[0][labels == 0].mean(0)
    got = algorithm.train(model, Batches(inputs, labels, 4), algorithm.start()[1])
    with torch.no_grad():
        after = model(inputs)[0][labels == 0].mean(0)
    assert torch.allclose(torch.from_numpy(got.prototypes_ND[0]), after, atol=1e-6)
    assert not torch.allclose(before, after, atol=1e-4)
    assert got.counts_N.tolist() == [4, 4]


def test_a_client_without_a_full_batch_uploads_nothing(identity: SplitModel) -> None:
    algorithm = fedorgp.build(config())
    few = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), 4)
    got = algorithm.train(identity, few, algorithm.start()[1])
    assert got.prototypes_ND.shape == (0, 2)


def test_the_variant_has_the_published_codes_loss() -> None:
    published = config(**algorithms.variant_options("fedorgp", "published"))
    assert (published.objective, published.server_epochs, published.pull) == ("angular", 1, 10.0)
    assert config().objective == "softmax"


def test_a_class_that_the_task_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="class 3, the task has 3"):
        fedorgp.build(CONFIG).check(upload((3, 1, 0)))
