import numpy as np
import pytest
import torch

from edgeloop.algorithm import Batches
from edgeloop.knowledge import heads
from edgeloop.knowledge.heads import Head, HeadUpload
from edgeloop.models import SplitModel

NONE = Batches(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 1)


def upload(samples: int, value: float) -> HeadUpload:
    return HeadUpload(
        samples, np.array([[value, 1], [2, 3]], np.float32), np.array([-value, 4], np.float32)
    )


def test_clients_count_by_their_samples() -> None:
    mean = heads.average([upload(1, 0.0), upload(3, 8.0)])
    # (1 x 0 + 3 x 8) / 4 = 6
    assert mean.head_CK.tolist() == [[6.0, 1.0], [2.0, 3.0]]
    assert mean.bias_C.tolist() == [-6.0, 4.0]


def test_clients_without_samples_count_alike() -> None:
    assert heads.average([upload(0, 2.0), upload(0, 4.0)]).bias_C.tolist() == [-3.0, 4.0]


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        upload(-1, 1.0)


def test_what_was_sent_does_not_change_with_the_model(identity: SplitModel) -> None:
    head_CK, bias_C = heads.arrays(identity)
    with torch.no_grad():
        identity.head.weight.fill_(7)
        identity.head.bias.fill_(7)
    assert (head_CK.tolist(), bias_C.tolist()) == ([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])


def test_a_client_takes_a_head_over(identity: SplitModel) -> None:
    head = Head(np.array([[1, 2], [3, 4]], np.float32), np.array([5, 6], np.float32))
    heads.load_broadcast(identity, NONE, head)
    assert identity.head.weight.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert identity.head.bias.tolist() == [5.0, 6.0]


def test_a_head_of_another_size_is_refused(identity: SplitModel) -> None:
    with pytest.raises(ValueError, match="6 weights for 4"):
        heads.load_broadcast(
            identity, NONE, Head(np.ones((3, 2), np.float32), np.ones(2, np.float32))
        )
