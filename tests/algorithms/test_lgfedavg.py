import numpy as np
import torch

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import lgfedavg
from edgeloop.knowledge.heads import Head, HeadUpload
from edgeloop.models import SplitModel
from edgeloop.training.sgd import cross_entropy

CONFIG = lgfedavg.Config(classes=2, width=2, shape=(1, 16, 16), local_lr=0.1)


def upload(samples: int, value: float) -> HeadUpload:
    return HeadUpload(
        samples, np.array([[value, 1], [2, 3]], np.float32), np.array([-value, 4], np.float32)
    )


def test_clients_count_by_their_samples() -> None:
    algorithm = lgfedavg.build(CONFIG)
    state, broadcast = algorithm.aggregate(algorithm.start()[0], [upload(1, 0.0), upload(3, 8.0)])
    # (1 x 0 + 3 x 8) / 4 = 6
    assert broadcast.head_CK.tolist() == [[6.0, 1.0], [2.0, 3.0]]
    assert broadcast.bias_C.tolist() == [-6.0, 4.0]
    assert state is broadcast


def test_the_first_head_is_the_first_clients_whatever_the_others_are() -> None:
    config = lgfedavg.Config(classes=2, width=2, shape=(1, 16, 16), seed=3)
    algorithm = lgfedavg.build(config)
    first = models.build("cnn", (1, 16, 16), 2, 2, seed=3)
    other = models.build("resnet4", (1, 16, 16), 2, 2, seed=3)
    _, broadcast = algorithm.start()
    assert not torch.equal(other.head.weight, first.head.weight)
    base = [parameter.detach().clone() for parameter in other.base.parameters()]
    none = Batches(torch.zeros(0, 1, 16, 16), torch.zeros(0, dtype=torch.int64), 2)
    algorithm.load_broadcast(other, none, broadcast)
    assert torch.equal(other.head.weight, first.head.weight)
    assert torch.equal(other.head.bias, first.head.bias)
    assert all(map(torch.equal, base, other.base.parameters()))


def test_a_round_is_plain_training_of_base_and_head(identity: SplitModel) -> None:
    algorithm = lgfedavg.build(CONFIG)
    batches = Batches(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), size=1)
    before = Head(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    sent = algorithm.train(identity, batches, before)
    # Equal logits: slope (-1/2, 1/2) for each input 1 and the bias, a step of 0.1.
    np.testing.assert_allclose(sent.head_CK, [[1.05, 0.05], [-0.05, 0.95]], rtol=1e-6)
    np.testing.assert_allclose(sent.bias_C, [0.05, -0.05], rtol=1e-6)
    assert sent.samples == 1
    model = models.build("cnn", CONFIG.shape, 2, 2)
    base = [parameter.detach().clone() for parameter in model.base.parameters()]
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    algorithm.train(model, Batches(images, torch.tensor([0, 1]), 2), before)
    assert not all(map(torch.equal, base, model.base.parameters()))


def test_classification_is_by_the_heads_logits(identity: SplitModel) -> None:
    algorithm = lgfedavg.build(CONFIG)
    assert algorithm.predict(identity, torch.tensor([[3.0, 5.0]]), None).tolist() == [[3.0, 5.0]]
    assert algorithm.loss is cross_entropy
