"""A StyleGAN generator as a mapping and a synthesis that ONNX can hold.

Shape suffixes: N samples, Z noise entries, C classes, L layers, H entries of w, the latent.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloud.generator_service.stylegan import ops
from edgeloop.errors import GeneratorError
from edgeloop.generators.converting import Parts

_WAYS: tuple[Mapping[str, Any], ...] = (
    {"noise_mode": "const", "force_fp32": True, "fused_modconv": False},  # StyleGAN2-ada
    {"noise_mode": "const", "force_fp32": True},  # StyleGAN3, StyleGAN-XL
    {"noise_mode": "const"},
    {},
)


class WMapping(nn.Module):
    """Noise to w, untruncated: the first of the equal copies that the layers get.

    Args:
        network: the whole generator's mapping.
        classes: C; 0 for an unconditional generator.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, noise_NZ: Tensor, classes_N: Tensor | None = None) -> Tensor:
        """Return latents (N, H)."""
        chosen_NC = None if classes_N is None else F.one_hot(classes_N, self.classes).float()
        w_NLH: Tensor = self.network(noise_NZ, chosen_NC)
        return w_NLH[:, 0]


class WSynthesis(nn.Module):
    """W to images in [-1, 1], with the noise that was drawn once.

    Args:
        network: the whole generator's synthesis.
        layers: L.
        options: of the network's call.
    """

    def __init__(self, network: nn.Module, layers: int, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network, self.layers, self.options = network, layers, dict(options)

    def forward(self, latents_NH: Tensor) -> Tensor:
        """Return images (N, channels, height, width)."""
        w_NLH = latents_NH.unsqueeze(1).repeat(1, self.layers, 1)
        images: Tensor = self.network(w_NLH, **self.options)
        return images.float()


@torch.no_grad()
def parts(network: nn.Module, field: str) -> Parts:
    """Return a generator's halves.

    Args:
        network: with a `mapping`, which knows its `z_dim` and `c_dim`, and a `synthesis`.
        field: the file's name, for errors.

    Raises:
        GeneratorError: if it is no StyleGAN generator.
    """
    try:
        mapping: Any = network.mapping
        synthesis: Any = network.synthesis
        noise_dim, classes = int(mapping.z_dim), int(mapping.c_dim)
    except AttributeError as error:
        problem = f"is no StyleGAN generator: {error}"
        raise GeneratorError(field, problem, "name another file") from error
    noise_NZ = torch.randn(2, noise_dim, generator=torch.Generator().manual_seed(0))
    chosen_NC = F.one_hot(torch.tensor([0, 0]), classes).float() if classes else None
    w_NLH: Tensor = mapping(noise_NZ, chosen_NC)
    options = _options(synthesis, w_NLH)
    whole = WSynthesis(synthesis, w_NLH.shape[1], options)
    return Parts(WMapping(mapping, classes), whole, noise_dim, classes)


@contextmanager
def portable() -> Iterator[None]:
    """Have networks use operations that ONNX has, while the block runs."""
    before = F.affine_grid
    F.affine_grid = ops.affine_grid  # type: ignore[assignment]  # one that ONNX 17 has
    try:
        yield
    finally:
        F.affine_grid = before


def _options(synthesis: Any, w_NLH: Tensor) -> Mapping[str, Any]:
    """Return the options that a synthesis takes: what it does not know, it refuses."""
    for options in _WAYS[:-1]:
        try:
            synthesis(w_NLH, **options)
        except TypeError:
            continue
        return options
    return _WAYS[-1]
