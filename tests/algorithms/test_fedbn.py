from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop import algorithms
from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedavg, fedbn
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel

SHAPE = (3, 32, 32)


def normalising() -> SplitModel:
    """A layer, its batch normalisation, and a head: 6, 4 and 6 parameters."""
    torch.manual_seed(0)
    base = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.BatchNorm1d(2))
    return SplitModel(base, 2, 2, features=2)


def test_batch_normalisation_does_not_travel() -> None:
    model = normalising()
    shared = fedbn.shared_parameters(model)
    assert weights.size(model.own()) == 16
    assert [tuple(each.shape) for each in shared] == [(2, 2), (2,), (2, 2), (2,)]
    norm = next(each for each in model.modules() if isinstance(each, nn.BatchNorm1d))
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.bias.fill_(4.0)
    algorithm = fedbn.build(fedbn.Config(classes=2, width=2, shape=SHAPE))
    batches = Batches(torch.randn(4, 2), torch.tensor([0, 1, 0, 1]), size=4)
    algorithm.load_broadcast(model, batches, Weights(np.full(12, 0.5, np.float32)))
    assert {value.item() for each in shared for value in each.flatten()} == {0.5}
    assert norm.weight.tolist() == [3.0, 3.0]
    assert norm.bias.tolist() == [4.0, 4.0]
    sent = algorithm.train(model, batches, Weights(np.full(12, 0.5, np.float32)))
    assert sent.weights_P.tolist() == weights.flat(fedbn.shared_parameters(model)).tolist()
    assert norm.running_mean is not None
    assert norm.running_mean.abs().max() > 0  # counted by the client, and its own


def test_a_resnets_normalisation_stays() -> None:
    algorithm = fedbn.build(fedbn.Config(classes=2, width=8, shape=SHAPE, architecture="resnet4"))
    whole = fedavg.build(fedavg.Config(classes=2, width=8, shape=SHAPE, architecture="resnet4"))
    assert 0 < algorithm.sizes["P"] < whole.sizes["P"]


def test_without_batch_normalisation_it_is_fedavg() -> None:
    config: dict[str, Any] = {"classes": 2, "width": 4, "shape": (1, 16, 16)}
    mine, theirs = fedbn.build(fedbn.Config(**config)), fedavg.build(fedavg.Config(**config))
    assert mine.start()[1].weights_P.tolist() == theirs.start()[1].weights_P.tolist()


@pytest.mark.parametrize(("variant", "expected"), [("released", 6.0), ("paper", 4.0)])
def test_how_clients_count(variant: str, expected: float) -> None:
    options: dict[str, Any] = dict(algorithms.variant_options("fedbn", variant))
    algorithm = fedbn.build(fedbn.Config(classes=2, width=4, shape=(1, 16, 16), **options))
    uploads = [WeightsUpload(n, np.array([v], np.float32)) for n, v in ((1, 0.0), (3, 8.0))]
    _, broadcast = algorithm.aggregate(Weights(np.zeros(1, np.float32)), uploads)
    assert broadcast.weights_P.tolist() == [expected]
