import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop.knowledge import prototype_network
from edgeloop.knowledge.contrastive_loss import contrastive_gradient


def test_the_first_weights_are_torchs_in_the_released_order() -> None:
    state = prototype_network.initial_state(3, 8, seed=5)
    torch.manual_seed(5)
    assert np.array_equal(state.table_CD, nn.Embedding(3, 8).weight.detach().numpy())
    inner, outer = nn.Linear(8, 8), nn.Linear(8, 8)
    assert np.array_equal(state.inner_DD, inner.weight.detach().numpy())
    assert np.array_equal(state.outer_D, outer.bias.detach().numpy())


def test_a_step_is_what_autograd_and_sgd_would_do() -> None:
    state = prototype_network.initial_state(3, 8, seed=0)
    by_hand = [torch.tensor(array) for array in prototype_network.arrays(state)]
    by_torch = [
        torch.tensor(array, requires_grad=True) for array in prototype_network.arrays(state)
    ]
    goal = torch.arange(24.0).reshape(3, 8)
    F.mse_loss(prototype_network.global_prototypes(by_torch)[0], goal).backward()
    torch.optim.SGD(by_torch, lr=0.1).step()
    learned, hidden = prototype_network.global_prototypes(by_hand)
    prototype_network.sgd_step(by_hand, hidden, 2 * (learned - goal) / goal.numel(), lr=0.1)
    for ours, theirs in zip(by_hand, by_torch, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_without_a_network_the_embedding_alone_learns() -> None:
    first = prototype_network.initial_state(2, 2, seed=0)
    schedule = prototype_network.PrototypeTraining(epochs=1, lr=0.5, batch=9, seed=0, network=False)
    uploaded, labels = torch.tensor([[1.0, 2.0]]), torch.tensor([1])

    def objective(uploaded: Tensor, labels: Tensor, made: Tensor) -> Tensor:
        return (made[labels] - uploaded).square().sum()

    new, broadcast = prototype_network.train_prototypes(
        first, uploaded, labels, prototype_network.gradient_of(objective), schedule
    )
    assert np.allclose(new.table_CD[1], [1, 2]), "a step of half of 2 (made - uploaded)"
    assert np.array_equal(new.table_CD[0], first.table_CD[0])
    assert np.array_equal(broadcast.prototypes_CD, new.table_CD)
    assert np.array_equal(new.inner_DD, first.inner_DD)


def test_steps_in_buffers_are_those_without_to_the_bit() -> None:
    first = prototype_network.initial_state(10, 64, seed=3)
    random = torch.Generator().manual_seed(0)
    uploaded, labels = torch.rand(27, 64, generator=random), torch.arange(27) % 10
    by_hand = [torch.tensor(array) for array in prototype_network.arrays(first)]
    buffered = [torch.tensor(array) for array in prototype_network.arrays(first)]
    buffers = prototype_network.Buffers.like(buffered[0])
    gradient = contrastive_gradient(10, margin=0.5)
    for _ in range(3):
        for parameters, place in ((by_hand, None), (buffered, buffers)):
            made, hidden = prototype_network.global_prototypes(parameters, place)
            slope = gradient(uploaded, labels, made)
            prototype_network.sgd_step(parameters, hidden, slope, 0.1, place)
    assert all(torch.equal(one, other) for one, other in zip(by_hand, buffered, strict=True))
    assert not np.array_equal(by_hand[3].numpy(), first.outer_DD)
