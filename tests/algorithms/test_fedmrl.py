import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeloop.algorithm import Batches
from edgeloop.algorithms import fedmrl
from edgeloop.knowledge import weights
from edgeloop.knowledge.weights import Weights, WeightsUpload
from edgeloop.models import SplitModel

SHAPE = (1, 16, 16)
OPTIONS: dict[str, Any] = {"classes": 2, "width": 8, "shape": SHAPE, "small_width": 4}
BATCHES = Batches(torch.ones(2, *SHAPE), torch.tensor([0, 1]), size=2)


def client(**options: Any) -> SplitModel:
    torch.manual_seed(1)
    model = SplitModel(nn.Sequential(nn.Flatten(), nn.Linear(256, 8)), 8, 2, features=8)
    fedmrl.init_client_state(model, fedmrl.Config(**{**OPTIONS, **options}))
    return model


def by_hand() -> SplitModel:
    """A client whose two models pass their input on; the projection adds the small one's to it."""
    model = SplitModel(nn.Flatten(), 2, 2, features=2)
    narrow = nn.Linear(2, 1, bias=False)
    small = SplitModel(nn.Sequential(nn.Flatten(), narrow), 1, 2, features=1)
    projection = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(2))
        model.head.bias.zero_()
        narrow.weight.copy_(torch.tensor([[1.0, 0.0]]))
        small.head.weight.copy_(torch.tensor([[2.0], [0.0]]))
        small.head.bias.zero_()
        projection.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    model.kept.update({"small": small, "projection": projection})
    return model


def test_the_objective_by_hand() -> None:
    model = by_hand()
    inputs = torch.tensor([[3.0, 5.0]])
    # The small feature 3 and the own ones (3, 5) become (6, 5): logits of the own head.
    assert fedmrl.predict(model, inputs, None).tolist() == [[6.0, 5.0]]
    # The small head reads 6: logits (12, 0).
    expected = math.log1p(math.exp(-1)) + math.log1p(math.exp(-12))
    found = fedmrl.objective(model, (inputs, torch.tensor([0])))
    assert found.item() == pytest.approx(expected)


def test_all_learn_and_the_small_model_is_sent() -> None:
    algorithm = fedmrl.build(fedmrl.Config(**OPTIONS))
    model, (_, broadcast) = client(), algorithm.start()
    own = weights.flat(model.own())
    sent = algorithm.train(model, BATCHES, broadcast)
    assert sent.weights_P.tolist() == weights.flat(fedmrl.small_of(model).own()).tolist()
    assert (sent.weights_P != broadcast.weights_P).any()
    assert (weights.flat(model.own()) != own).any()
    assert algorithm.sizes == {"P": len(broadcast.weights_P)}


@pytest.mark.parametrize("keeps", [False, True])
def test_the_projection_begins_anew_unless_it_is_kept(keeps: bool) -> None:
    algorithm = fedmrl.build(fedmrl.Config(**OPTIONS, keep_projection=keeps))
    model, (_, broadcast) = client(), algorithm.start()
    first = weights.flat(model.kept["projection"].parameters())
    algorithm.train(model, BATCHES, broadcast)
    trained = weights.flat(model.kept["projection"].parameters())
    assert (trained != first).any()
    algorithm.load_broadcast(model, BATCHES, broadcast)
    evaluated = weights.flat(model.kept["projection"].parameters())
    assert evaluated.tolist() == (trained if keeps else first).tolist()


@pytest.mark.parametrize(("weighted", "expected"), [(False, 4.0), (True, 6.0)])
def test_how_clients_count(weighted: bool, expected: float) -> None:
    algorithm = fedmrl.build(fedmrl.Config(**OPTIONS, weighted=weighted))
    uploads = [WeightsUpload(n, np.array([v], np.float32)) for n, v in ((1, 0.0), (3, 8.0))]
    _, broadcast = algorithm.aggregate(Weights(np.zeros(1, np.float32)), uploads)
    assert broadcast.weights_P.tolist() == [expected]


def test_the_small_model_is_no_wider_than_the_clients() -> None:
    assert fedmrl.small_model(fedmrl.Config(**{**OPTIONS, "small_width": 128})).width == 8
