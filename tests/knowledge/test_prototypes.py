import math
from typing import Literal

import numpy as np
import pytest
import torch

from edgeloop.algorithm import Batches, CollectedOutputs
from edgeloop.knowledge import prototypes
from edgeloop.knowledge.prototypes import PrototypeUpload, Targets
from edgeloop.protocol import wire
from edgeloop.training import sgd

GOAL = Targets(
    torch.tensor([True, False, True]), torch.tensor([[1.0, 0.0], [9.0, 9.0], [0.0, 2.0]])
)


def test_class_means_and_counts() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    means, counts = prototypes.class_means(features, torch.tensor([0, 0, 2]), 3)
    assert means.tolist() == [[2.0, 1.0], [0.0, 0.0], [5.0, 5.0]]
    assert counts.tolist() == [2, 0, 1]


def test_an_upload_has_only_the_classes_seen() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    upload = prototypes.upload_of(features, torch.tensor([0, 0, 2]), 3)
    assert upload.labels_N.tolist() == [0, 2]
    assert upload.counts_N.tolist() == [2, 1]
    assert upload.prototypes_ND.tolist() == [[2.0, 1.0], [5.0, 5.0]]


@pytest.mark.parametrize(("labels", "counts"), [([1, 1], [1, 1]), ([2, 1], [1, 1]), ([-1], [1])])
def test_labels_ascend(labels: list[int], counts: list[int]) -> None:
    with pytest.raises(ValueError, match="not ascending"):
        PrototypeUpload(np.array(labels), np.array(counts), np.zeros((len(labels), 2), np.float32))


def test_counts_are_positive() -> None:
    with pytest.raises(ValueError, match="fewer than one sample"):
        PrototypeUpload(np.array([0]), np.array([0]), np.zeros((1, 2), np.float32))


def test_a_class_beyond_the_task_is_refused() -> None:
    upload = PrototypeUpload(np.array([0, 3]), np.array([1, 1]), np.zeros((2, 2), np.float32))
    prototypes.check_labels(upload, 4)
    with pytest.raises(ValueError, match="class 3, the task has 3"):
        prototypes.check_labels(upload, 3)


def test_pull_by_hand() -> None:
    # Gaps: (2,0)-(1,0) = (1,0); class 1 has no prototype, so 0; (3,6)-(0,2) = (3,4).
    features = torch.tensor([[2.0, 0.0], [7.0, 7.0], [3.0, 6.0]])
    labels = torch.tensor([0, 1, 2])
    assert prototypes.attraction(features, labels, GOAL, "mse").item() == pytest.approx(26 / 6)
    assert prototypes.attraction(features, labels, GOAL, "euclidean").item() == pytest.approx(6 / 3)


def test_the_pull_of_a_feature_on_its_prototype_has_a_gradient() -> None:
    features = torch.tensor([[1.0, 0.0], [7.0, 7.0]], requires_grad=True)
    away = prototypes.attraction(features, torch.tensor([0, 1]), GOAL, "euclidean")
    (slope,) = torch.autograd.grad(away, features)
    assert slope.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_nearness_is_minus_the_mean_squared_gap() -> None:
    scores = prototypes.nearness(torch.tensor([[1.0, 1.0]]), GOAL)
    assert scores.tolist() == [[-0.5, -math.inf, -1.0]]


def doubled(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return inputs * 10, inputs * 2


@pytest.mark.parametrize(("what", "factor"), [("features", 10.0), ("logits", 2.0)])
def test_the_upload_is_the_mean_of_what_training_saw(
    what: Literal["features", "logits"], factor: float
) -> None:
    seen: CollectedOutputs = []
    for value, label in ((1.0, 0), (3.0, 0), (5.0, 2)):
        inputs = torch.full((1, 2), value, requires_grad=True)
        watching = sgd.collecting_forward(doubled, torch.tensor([label]), seen, what)
        assert [output.tolist() for output in watching(inputs)] == [
            output.tolist() for output in doubled(inputs)
        ]
    assert not any(noted.requires_grad for noted, _ in seen)
    batches = Batches(torch.zeros(3, 2), torch.tensor([0, 0, 2]), size=1)
    upload = prototypes.upload_collected(None, batches, seen, classes=3, width=2, epochs=1)
    # (1 + 3) / 2 and 5, times the factor.
    assert upload.labels_N.tolist() == [0, 2]
    assert upload.counts_N.tolist() == [2, 1]
    assert upload.prototypes_ND.tolist() == [[2 * factor] * 2, [5 * factor] * 2]
    # Had two epochs seen this, each would have counted one sample of class 0.
    twice = prototypes.upload_collected(None, batches, [*seen, *seen], classes=3, width=2, epochs=2)
    assert twice.counts_N.tolist() == [2, 1]
    assert twice.prototypes_ND.tolist() == upload.prototypes_ND.tolist()


def test_who_saw_nothing_uploads_nothing() -> None:
    batches = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), size=4)
    upload = prototypes.upload_collected(None, batches, [], classes=2, width=5, epochs=3)
    assert upload.prototypes_ND.shape == (0, 5)
    assert len(upload.labels_N) == len(upload.counts_N) == 0


def test_the_server_averages_each_class_over_the_clients_that_have_it() -> None:
    one = PrototypeUpload(np.array([0]), np.array([1]), np.array([[0, 4]], np.float32))
    other = PrototypeUpload(
        np.array([0, 2]), np.array([3, 5]), np.array([[4, 8], [1, 1]], np.float32)
    )
    alike = prototypes.average([one, other], 3)
    assert alike.known_C.tolist() == [True, False, True]
    assert alike.prototypes_CD.tolist() == [[2.0, 6.0], [0.0, 0.0], [1.0, 1.0]]
    # (1 x 0 + 3 x 4) / 4 and (1 x 4 + 3 x 8) / 4.
    weighted = prototypes.average([one, other], 3, weighted=True)
    assert weighted.prototypes_CD.tolist() == [[3.0, 7.0], [0.0, 0.0], [1.0, 1.0]]
    assert prototypes.average([one], 3).known_C.tolist() == [True, False, False]


@pytest.mark.parametrize("labels", [[0, 2**63 - 1, -(2**63) + 5, 3], [-1, 0], [1, 1], [2, 1]])
def test_labels_that_do_not_ascend_are_refused_also_where_a_difference_wraps(
    labels: list[int],
) -> None:
    size = len(labels)
    with pytest.raises(ValueError, match="not ascending"):
        PrototypeUpload(np.array(labels), np.ones(size, int), np.ones((size, 2), np.float32))


def test_any_class_that_the_task_lacks_is_refused() -> None:
    beyond = PrototypeUpload(np.array([0, 2**63 - 1]), np.ones(2, int), np.ones((2, 2), np.float32))
    with pytest.raises(ValueError, match="the task has 4"):
        prototypes.check_labels(beyond, 4)


def test_the_largest_counts_that_are_taken_do_not_wrap() -> None:
    most = np.array([wire.MOST_SAMPLES])
    upload = PrototypeUpload(np.array([0]), most, np.ones((1, 2), np.float32))
    found = prototypes.average([upload] * 100, 1, weighted=True)
    assert found.known_C.all()
    assert (found.prototypes_CD == 1).all()
