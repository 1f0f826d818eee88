import numpy as np
import pytest
import torch

from edgeloop import models
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import WeightsUpload


def upload(samples: int, *values: float) -> WeightsUpload:
    return WeightsUpload(samples, np.array(values, np.float32))


def test_clients_count_by_their_samples_or_alike() -> None:
    uploads = [upload(1, 0.0, 4.0), upload(3, 8.0, 4.0)]
    # (1 x 0 + 3 x 8) / 4 and (0 + 8) / 2.
    assert weights.mean(uploads).weights_P.tolist() == [6.0, 4.0]
    assert weights.mean(uploads, weighted=False).weights_P.tolist() == [4.0, 4.0]


def test_clients_without_samples_count_alike() -> None:
    assert weights.mean([upload(0, 2.0), upload(0, 4.0)]).weights_P.tolist() == [3.0]


def test_the_mean_is_summed_in_double_precision() -> None:
    # In single precision 2 ** 25 + 1 is 2 ** 25, and the mean 0.
    uploads = [upload(1, value) for value in (2.0**25, 1.0, -(2.0**25), 3.0)]
    assert weights.mean(uploads).weights_P.tolist() == [1.0]


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        upload(-1, 1.0)


def test_tensors_become_one_vector_and_come_back() -> None:
    tensors = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([5.0])]
    assert weights.concatenate(tensors).tolist() == [1, 2, 3, 4, 5]
    vector_P = weights.flat(tensors)
    for given in (2 * vector_P, torch.from_numpy(2 * vector_P)):
        others = [torch.zeros(2, 2), torch.zeros(1)]
        weights.assign(others, given)
        assert [other.tolist() for other in others] == [[[2, 4], [6, 8]], [10]]
    tensors[1].fill_(9)
    assert vector_P.tolist() == [1, 2, 3, 4, 5]
    assert weights.flat([]).shape == (0,)


def test_a_single_tensors_vector_has_memory_of_its_own() -> None:
    tensor = torch.ones(2)
    joined, flat = weights.concatenate([tensor]), weights.flat([tensor])
    tensor.fill_(9)
    assert joined.tolist() == flat.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("given", [np.zeros(3, np.float32), torch.zeros(3)])
def test_a_vector_of_another_size_is_refused(given: torch.Tensor) -> None:
    model = models.build("cnn", (1, 16, 16), 3, 4)
    with pytest.raises(ValueError, match="3 weights for"):
        weights.assign(model.own(), given)


def test_the_proximal_term_by_hand() -> None:
    ours = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0]])]
    anchors = [torch.tensor([0.0, 2.0], requires_grad=True), torch.tensor([[1.0]])]
    term = weights.proximal(ours, anchors, 0.4)
    # mu / 2 (1 + 0 + 4); its slope is mu times the gap, and none at the anchors.
    assert term.item() == pytest.approx(0.2 * 5)
    term.backward()
    assert ours[0].grad is not None
    assert ours[0].grad.tolist() == pytest.approx([0.4, 0.0])
    assert anchors[0].grad is None
