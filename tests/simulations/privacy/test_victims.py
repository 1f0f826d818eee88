import pytest
import torch
from torch import nn

from edgeloop.data.samples import Samples
from edgeloop.errors import DataError, ModelError
from simulations.privacy.victims import build, draw, smooth_model, train
from tests.simulations.privacy.small import client, model, pictures


def test_the_victims_and_the_others_are_all_of_the_client_s() -> None:
    victims = client(4)
    assert len(victims.labels_B) == 4
    assert len(victims.other_labels_M) == 596
    every = torch.cat([victims.inputs, victims.others]).flatten(1)
    real = torch.tensor(pictures().inputs).flatten(1)
    assert torch.equal(every.sort(dim=0).values, real.sort(dim=0).values)
    assert all(len(victims.like(int(label))) for label in victims.labels_B)
    assert not torch.equal(victims.inputs, client(4, seed=1).inputs)


def test_victims_of_one_class() -> None:
    victims = client(5, one_class=True)
    assert len(victims.labels_B.unique()) == 1


def test_one_of_each_class_stays() -> None:
    few = Samples(pictures().inputs[:5], pictures().labels[:5].copy())
    few.labels[:] = [0, 0, 0, 1, 1]
    victims = draw(few, 3, one_class=False, seed=0)
    assert victims.other_labels_M.tolist() == [0, 1]
    with pytest.raises(DataError, match="samples: 4, but the client has too few images of classes"):
        draw(few, 4, one_class=False, seed=0)
    with pytest.raises(DataError, match="samples: 3, but the client has too few images of one"):
        draw(few, 3, one_class=True, seed=0)


def test_a_smooth_model_has_the_same_weights_and_no_corners() -> None:
    soft = model(architecture="cnn-batchnorm4")
    kinds = {type(module) for module in soft.modules()}
    assert nn.GELU in kinds
    assert nn.AvgPool2d in kinds
    assert not kinds & {nn.ReLU, nn.MaxPool2d}
    assert smooth_model(soft) is soft


def test_a_model_that_drops_out_is_refused() -> None:
    with pytest.raises(ModelError, match="model: transformer-l1-h8 drops out"):
        build("transformer-l1-h8", (20,), 4, smooth=True, width=8, seed=0)


def test_training_before_the_attack_learns() -> None:
    victims, mine = client(1), model()
    before = _right(mine, victims.others, victims.other_labels_M)
    train(mine, victims, epochs=10, seed=0)
    assert _right(mine, victims.others, victims.other_labels_M) > before + 0.2


@torch.no_grad()
def _right(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    return float((model(inputs)[1].argmax(1) == labels).double().mean())
