import torch
from torch import nn

from simulations.engine.flops import forward_flops


def test_operations_by_hand() -> None:
    # 4 filters of 3 x 3 on 6 x 6 places, then 144 numbers to 5; a product and a sum are two
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    assert forward_flops(network, (1, 8, 8)) == 2 * (36 * 4 * 9 + 144 * 5)


def test_on_the_meta_device_too() -> None:
    with torch.device("meta"):
        network = nn.Linear(1000, 1000)
    assert forward_flops(network, (1000,)) == 2_000_000
