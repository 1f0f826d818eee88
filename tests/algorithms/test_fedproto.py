import math

import numpy as np
import pytest
import torch

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedproto
from edgeloop.knowledge.prototypes import GlobalPrototypes, PrototypeUpload
from edgeloop.models import SplitModel

CONFIG = fedproto.Config(classes=3, width=2)


def upload(*rows: tuple[int, int, float, float]) -> PrototypeUpload:
    labels, counts, *features = zip(*rows, strict=True)
    return PrototypeUpload(
        np.array(labels), np.array(counts), np.array(features, np.float32).T.copy()
    )


UPLOADS = [upload((0, 1, 0.0, 4.0)), upload((0, 3, 4.0, 8.0), (2, 5, 1.0, 1.0))]


def test_the_released_code_averages_clients_alike() -> None:
    _, broadcast = fedproto.build(CONFIG).aggregate(fedproto.State(), UPLOADS)
    assert broadcast.known_C.tolist() == [True, False, True]
    assert broadcast.prototypes_CD.tolist() == [[2.0, 6.0], [0.0, 0.0], [1.0, 1.0]]


def test_the_paper_weighs_by_samples() -> None:
    config = fedproto.Config(classes=3, width=2, weighted=True)
    _, broadcast = fedproto.build(config).aggregate(fedproto.State(), UPLOADS)
    assert broadcast.prototypes_CD.tolist() == [[3.0, 7.0], [0.0, 0.0], [1.0, 1.0]]


def test_the_loss_by_hand(identity: SplitModel) -> None:
    algorithm = fedproto.build(fedproto.Config(classes=2, width=2, pull=3.0))
    broadcast = GlobalPrototypes(np.array([True, False]), np.array([[1, 1], [0, 0]], np.float32))
    goal = algorithm.targets(broadcast, torch.device("cpu"))
    batch = torch.tensor([[2.0, 2.0], [5.0, 5.0]]), torch.tensor([0, 1])
    # Both samples have equal logits: cross-entropy log 2. Gaps (1,1) and none: mean 2 / 4.
    assert algorithm.loss(identity, batch, goal).item() == pytest.approx(math.log(2) + 3 * 0.5)


def test_a_sample_counts_once_however_many_epochs_saw_it(identity: SplitModel) -> None:
    algorithm = fedproto.build(fedproto.Config(classes=2, width=2, local_epochs=3))
    batches = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), size=1)
    got = algorithm.train(identity, batches, algorithm.start()[1])
    assert got.counts_N.tolist() == [1, 2]


def test_a_client_without_a_full_batch_uploads_nothing(identity: SplitModel) -> None:
    algorithm = fedproto.build(fedproto.Config(classes=2, width=2))
    _, broadcast = algorithm.start()
    got = algorithm.train(
        identity, Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), 4), broadcast
    )
    assert len(got.labels_N) == 0
    assert got.prototypes_ND.shape == (0, 2)


def test_no_sample_has_a_class_before_there_are_prototypes(identity: SplitModel) -> None:
    algorithm = fedproto.build(fedproto.Config(classes=2, width=2))
    goal = algorithm.targets(algorithm.start()[1], torch.device("cpu"))
    assert not algorithm.predict(identity, torch.ones(1, 2), goal).isfinite().any()
