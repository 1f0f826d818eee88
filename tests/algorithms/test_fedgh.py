import dataclasses

import numpy as np
import pytest
import torch

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedgh
from edgeloop.algorithms.fedgh import State
from edgeloop.knowledge.heads import Head
from edgeloop.knowledge.prototypes import PrototypeUpload
from edgeloop.models import SplitModel
from edgeloop.protocol import wire
from edgeloop.training.sgd import cross_entropy

CONFIG = fedgh.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1, server_lr=0.1)
ZERO = State(np.zeros((2, 2), np.float32), np.zeros(2, np.float32), rounds=0)


def upload(*rows: tuple[int, float, float]) -> PrototypeUpload:
    labels, *features = zip(*rows, strict=True)
    counts = np.ones(len(rows), np.int64)
    return PrototypeUpload(np.array(labels), counts, np.array(features, np.float32).T.copy())


UPLOADS = [upload((0, 1.0, 0.0), (1, 0.0, 2.0)), upload((0, 3.0, 0.0))]


def test_the_server_takes_one_step_on_all_prototypes_of_a_batch() -> None:
    state, broadcast = fedgh.build(CONFIG).aggregate(ZERO, UPLOADS)
    # All logits are 0: slopes of the logits are -+1/2, over 3 prototypes. Class 0 has (1,0), (3,0),
    # class 1 has (0,2): d head[0] = -1/2 ((4,0) - (0,2)) / 3 = (-2/3, 1/3), a step of 0.1 down.
    np.testing.assert_allclose(broadcast.head_CK, np.array([[2, -1], [-2, 1]]) / 30, rtol=1e-6)
    # The bias of class 0: -1/2 (1 + 1 - 1) / 3.
    np.testing.assert_allclose(broadcast.bias_C, np.array([1, -1]) / 60, rtol=1e-6)
    assert state.rounds == 1
    assert state.head_CK is broadcast.head_CK
    assert not ZERO.head_CK.any()


def test_the_servers_epochs_and_batches_are_steps_of_their_own() -> None:
    one = [upload((0, 1.0, 0.0))]
    config = dataclasses.replace(CONFIG, server_epochs=2)
    _, twice = fedgh.build(config).aggregate(ZERO, one)
    state, _ = fedgh.build(CONFIG).aggregate(ZERO, one)
    _, again = fedgh.build(CONFIG).aggregate(state, one)
    np.testing.assert_allclose(twice.head_CK, again.head_CK)
    _, small = fedgh.build(dataclasses.replace(CONFIG, server_batch=1)).aggregate(ZERO, one * 2)
    np.testing.assert_allclose(small.head_CK, again.head_CK)


def test_the_shuffles_are_the_seeds_and_the_rounds() -> None:
    random = np.random.default_rng(0)
    rows = [(0, *random.standard_normal(2)), (1, *random.standard_normal(2))]
    uploads = [upload(*rows) for _ in range(4)]

    def head(seed: int, rounds: int) -> str:
        config = dataclasses.replace(CONFIG, server_batch=1, seed=seed)
        state = dataclasses.replace(ZERO, rounds=rounds)
        return wire.fingerprint(fedgh.build(config).aggregate(state, uploads)[1])

    assert head(0, 0) == head(0, 0)
    assert len({head(0, 0), head(0, 1), head(1, 0)}) == 3


def test_without_prototypes_the_head_stays() -> None:
    nothing = PrototypeUpload(
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.float32)
    )
    algorithm = fedgh.build(CONFIG)
    first, head = algorithm.start()
    state, broadcast = algorithm.aggregate(first, [nothing])
    assert wire.fingerprint(broadcast) == wire.fingerprint(head)
    assert state.rounds == 1


def test_the_first_head_is_the_first_clients() -> None:
    _, broadcast = fedgh.build(CONFIG).start()
    first = models.build("cnn", CONFIG.shape, 2, 2)
    assert broadcast.head_CK.tolist() == first.head.weight.tolist()
    assert broadcast.bias_C.tolist() == first.head.bias.tolist()


def test_a_client_takes_the_head_over(identity: SplitModel) -> None:
    algorithm = fedgh.build(CONFIG)
    none = Batches(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 2)
    head = Head(np.array([[1, 2], [3, 4]], np.float32), np.array([5, 6], np.float32))
    algorithm.load_broadcast(identity, none, head)
    scores = algorithm.predict(identity, torch.tensor([[1.0, 0.0]]), None)
    assert scores.tolist() == [[6.0, 9.0]]


def test_a_client_trains_on_labels_and_uploads_its_trained_features() -> None:
    algorithm = fedgh.build(dataclasses.replace(CONFIG, local_epochs=2))
    model = models.build("cnn", CONFIG.shape, 2, 2)
    images = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    batches = Batches(images, torch.tensor([0, 1, 1, 1, 0]), 2)
    untrained = model(images)[0].detach()
    sent = algorithm.train(model, batches, algorithm.start()[1])
    features = model.eval()(images)[0].detach()
    # The fifth sample is in no full batch.
    expected = torch.stack([features[0], features[1:4].mean(0)])
    torch.testing.assert_close(torch.from_numpy(sent.prototypes_ND), expected)
    assert sent.counts_N.tolist() == [1, 3]
    assert not torch.allclose(features, untrained)


def test_the_clients_loss_is_cross_entropy_alone() -> None:
    assert fedgh.build(CONFIG).loss is cross_entropy


def test_a_client_without_a_full_batch_uploads_nothing(identity: SplitModel) -> None:
    algorithm = fedgh.build(CONFIG)
    batches = Batches(torch.ones(3, 2), torch.tensor([0, 1, 1]), 4)
    sent = algorithm.train(identity, batches, algorithm.start()[1])
    assert sent.prototypes_ND.shape == (0, 2)
    with pytest.raises(ValueError, match="class 2, the task has 2"):
        algorithm.check(upload((2, 1.0, 1.0)))
