"""What a network's forward pass costs."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return the floating-point operations of a forward pass on one input.

    A multiplication and an addition are two. On the meta device nothing is computed.

    Args:
        network: put into evaluation mode.
        shape: of one input.
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape, device=device))
    return int(counter.get_total_flops())
