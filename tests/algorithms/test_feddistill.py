import math

import numpy as np
import pytest
import torch

from edgeloop.algorithm import Batches
from edgeloop.algorithms import feddistill
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.models import SplitModel
from edgeloop.protocol import wire

CONFIG = feddistill.Config(classes=2, width=2)
KNOWN = GlobalPrototypes(np.array([True, False]), np.array([[1, 3], [0, 0]], np.float32))
CPU = torch.device("cpu")


def upload(*rows: tuple[int, int, float, float]) -> PrototypeUpload:
    labels, counts, *logits = zip(*rows, strict=True)
    return PrototypeUpload(
        np.array(labels), np.array(counts), np.array(logits, np.float32).T.copy()
    )


def test_clients_count_alike_and_a_class_that_nobody_sends_is_forgotten() -> None:
    algorithm = feddistill.build(CONFIG)
    uploads = [upload((0, 1, 0.0, 4.0), (1, 2, 5.0, 6.0)), upload((0, 9, 4.0, 8.0))]
    state, broadcast = algorithm.aggregate(feddistill.State(), uploads)
    assert broadcast.known_C.tolist() == [True, True]
    assert broadcast.prototypes_CD.tolist() == [[2.0, 6.0], [5.0, 6.0]]
    _, broadcast = algorithm.aggregate(state, uploads[1:])
    assert broadcast.known_C.tolist() == [True, False]


def test_the_loss_by_hand(identity: SplitModel) -> None:
    algorithm = feddistill.build(feddistill.Config(classes=2, width=2, pull=3.0))
    batch = torch.tensor([[2.0, 2.0], [5.0, 5.0]]), torch.tensor([0, 1])
    loss = algorithm.loss(identity, batch, algorithm.targets(KNOWN, CPU))
    # Equal logits: log 2. Gaps (1, -1) and, for the class that is not known, none: mean 2 / 4.
    assert loss.item() == pytest.approx(math.log(2) + 3 * 0.5)


def test_the_loss_with_soft_labels_by_hand(identity: SplitModel) -> None:
    algorithm = feddistill.build(feddistill.Config(classes=2, width=2, pull=3.0, distance="soft"))
    logits = GlobalPrototypes(
        np.array([True, False]), np.array([[math.log(3), 0], [9, 9]], np.float32)
    )
    goal = algorithm.targets(logits, CPU)
    # Goal 3/4, 1/4 for logits (log 4, 0), that is 4/5, 1/5: away by -3/4 log 4/5 - 1/4 log 1/5.
    # The other sample is its own goal: the entropy of 1/2, 1/2.
    batch = torch.tensor([[math.log(4), 0.0], [5.0, 5.0]]), torch.tensor([0, 1])
    away = (-0.75 * math.log(0.8) - 0.25 * math.log(0.2) + math.log(2)) / 2
    labelled = (-math.log(0.8) + math.log(2)) / 2
    assert algorithm.loss(identity, batch, goal).item() == pytest.approx(labelled + 3 * away)


@pytest.mark.parametrize("distance", ["mse", "soft"])
def test_before_there_are_logits_only_the_labels_count(identity: SplitModel, distance: str) -> None:
    batch = torch.tensor([[1.0, 2.0], [4.0, -1.0]]), torch.tensor([0, 1])
    slopes = []
    for pull in (0.0, 5.0):
        config = feddistill.Config(classes=2, width=2, pull=pull, distance=distance)  # type: ignore[arg-type]
        algorithm = feddistill.build(config)
        identity.zero_grad()
        goal = algorithm.targets(algorithm.start()[1], CPU)
        algorithm.loss(identity, batch, goal).backward()
        slopes.append(
            [parameter.grad.clone() for parameter in identity.own() if parameter.grad is not None]
        )
    for alone, pulled in zip(*slopes, strict=True):
        torch.testing.assert_close(alone, pulled)


def test_the_upload_is_the_mean_of_the_logits_before_each_step(identity: SplitModel) -> None:
    algorithm = feddistill.build(
        feddistill.Config(classes=2, width=2, local_lr=1.0, local_epochs=2)
    )
    batches = Batches(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), size=1)
    got = algorithm.train(identity, batches, algorithm.start()[1])
    # Logits (1, 1) at first. Their slope is (-1/2, 1/2), so that the weights become
    # ((1.5, 0.5), (-0.5, 0.5)) and the bias (0.5, -0.5): logits (2.5, -0.5). The mean of the two.
    assert got.labels_N.tolist() == [0]
    assert got.counts_N.tolist() == [1]
    np.testing.assert_allclose(got.prototypes_ND, [[1.75, 0.25]], rtol=1e-6)


def test_classification_is_by_the_models_own_logits(identity: SplitModel) -> None:
    algorithm = feddistill.build(CONFIG)
    scores = algorithm.predict(identity, torch.tensor([[3.0, 5.0]]), algorithm.targets(KNOWN, CPU))
    assert scores.tolist() == [[3.0, 5.0]]


def test_a_client_without_a_full_batch_uploads_nothing(identity: SplitModel) -> None:
    algorithm = feddistill.build(CONFIG)
    batches = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), 4)
    got = algorithm.train(identity, batches, algorithm.start()[1])
    assert got.prototypes_ND.shape == (0, 2)
    _, broadcast = algorithm.aggregate(feddistill.State(), [got])
    assert not broadcast.known_C.any()


def test_logits_have_as_many_entries_as_there_are_classes() -> None:
    algorithm = feddistill.build(feddistill.Config(classes=3, width=2))
    payload = wire.encode(wire.Envelope("t", "r", 0, "a"), upload((0, 1, 2.0, 3.0)))
    with pytest.raises(wire.ShapeError):
        wire.decode(payload, PrototypeUpload, sizes=algorithm.sizes)
    with pytest.raises(ValueError, match="class 2, the task has 2"):
        feddistill.build(CONFIG).check(upload((2, 1, 0.0, 0.0)))
