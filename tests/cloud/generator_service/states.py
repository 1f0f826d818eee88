"""A DCGAN small enough for any test: 6 latent entries, images of 3 x 16 x 16."""

import io

import torch
from torch import Tensor


def tiny_state(seed: int = 0) -> dict[str, Tensor]:
    """Return its state dict, with drawn weights."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    state: dict[str, Tensor] = {}
    for layer, (inputs, outputs) in {0: (6, 4), 3: (4, 2)}.items():
        state[f"{layer}.weight"] = drawn(inputs, outputs, 4, 4)
        state[f"{layer + 1}.weight"] = drawn(outputs)
        state[f"{layer + 1}.bias"] = drawn(outputs)
        state[f"{layer + 1}.running_mean"] = drawn(outputs)
        state[f"{layer + 1}.running_var"] = drawn(outputs).square() + 0.5
        state[f"{layer + 1}.num_batches_tracked"] = torch.tensor(7)
    return {**state, "6.weight": drawn(2, 3, 4, 4)}


def saved(content: object) -> bytes:
    """Return what torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()
