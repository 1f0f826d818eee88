import numpy as np
import torch

from edgeloop import models
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedavg
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload

CONFIG = fedavg.Config(classes=3, width=4, shape=(1, 16, 16), local_lr=0.1)


def upload(samples: int, *values: float) -> WeightsUpload:
    return WeightsUpload(samples, np.array(values, np.float32))


def test_clients_count_by_their_samples() -> None:
    state, broadcast = fedavg.build(CONFIG).aggregate(
        Weights(np.zeros(2, np.float32)), [upload(1, 0.0, 4.0), upload(3, 8.0, 4.0)]
    )
    assert broadcast.weights_P.tolist() == [6.0, 4.0]
    assert state.weights_P.tolist() == [6.0, 4.0]


def test_every_client_starts_with_the_servers_model_and_takes_it_over() -> None:
    algorithm = fedavg.build(CONFIG)
    _, broadcast = algorithm.start()
    model = models.build("cnn", CONFIG.shape, 3, 4, seed=0)
    assert weights.flat(model.own()).tolist() == broadcast.weights_P.tolist()
    other = models.build("cnn", CONFIG.shape, 3, 4, seed=1)
    batches = Batches(torch.zeros(0, 1, 16, 16), torch.zeros(0, dtype=torch.int64), 2)
    algorithm.load_broadcast(other, batches, broadcast)
    assert weights.flat(other.own()).tolist() == broadcast.weights_P.tolist()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


def test_a_round_is_plain_training_from_the_global_model() -> None:
    algorithm = fedavg.build(CONFIG)
    model = models.build("cnn", CONFIG.shape, 3, 4, seed=0)
    inputs = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    batches = Batches(inputs, torch.tensor([0, 1, 2, 0]), 4)
    before = [parameter.detach().clone() for parameter in model.own()]
    torch.nn.functional.cross_entropy(model(inputs)[1], batches.labels).backward()
    slopes = [parameter.grad for parameter in model.own()]
    sent = algorithm.train(model, batches, algorithm.start()[1])
    expected = [
        old - 0.1 * slope for old, slope in zip(before, slopes, strict=True) if slope is not None
    ]
    assert sent.samples == 4
    np.testing.assert_allclose(sent.weights_P, weights.flat(expected), atol=1e-6)
