"""A DCGAN from its state dict: transposed convolutions, batch normalisation, a latent on a sphere.

Radford, Metz, Chintala: Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks (2016).

Shape suffixes: N samples, Z noise entries, C classes, H = Z + C entries of a latent.
"""

import io
import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeloop.errors import GeneratorError

State = Mapping[str, Tensor]
KERNEL = 4
_SMALLEST = 1e-8
_STATISTICS = ("weight", "bias", "running_mean", "running_var")


def read_state(content: bytes, field: str, key: str = "") -> State:
    """Return the state dict in a file's bytes; nothing in it is run.

    Args:
        content: of the file that `torch.save` wrote.
        field: the file's name, for errors.
        key: where the state dict is in it; empty if it is the content itself.

    Raises:
        GeneratorError: if there is none.
    """
    remedy = "save the generator's state dict alone"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an error below says what cannot be read
            loaded: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may raise anything
        problem = "cannot be read as plain tensors: it is damaged, or holds objects"
        raise GeneratorError(field, problem, remedy) from error
    state: Any = loaded.get(key) if key and isinstance(loaded, dict) else loaded
    if not _is_state(state):
        problem = f"holds no state dict under {key!r}" if key else "holds no state dict"
        raise GeneratorError(field, problem, _keys(loaded) or remedy)
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            problem = f"`{name}` holds a number that is not finite: the training diverged"
            raise GeneratorError(field, problem, "import an earlier checkpoint")
    return {str(name): tensor for name, tensor in state.items()}


def _is_state(value: object) -> bool:
    tensors = value.values() if isinstance(value, dict) else ()
    return bool(tensors) and all(isinstance(part, Tensor) for part in tensors)


def _keys(loaded: object) -> str:
    """Return how to name a state dict within what was loaded; nothing where there is none."""
    entries = loaded.items() if isinstance(loaded, dict) else ()
    found = [str(name) for name, value in entries if _is_state(value)]
    return f"give --key {found[0]}, of {', '.join(found)}" if found else ""


def on_sphere(latents_NZ: Tensor) -> Tensor:
    """Put each latent on the sphere of radius sqrt(Z), where a DCGAN's prior lives; 0 stays 0."""
    norms_N1 = latents_NZ.norm(dim=1, keepdim=True).clamp(min=_SMALLEST)
    placed_NZ: Tensor = latents_NZ * (math.sqrt(latents_NZ.shape[1]) / norms_N1)
    return placed_NZ


class SphereMapping(nn.Module):
    """Noise to a latent: onto the sphere, and the class, if there are any, as a one-hot vector.

    Args:
        classes: C; 0 for an unconditional generator.
    """

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, noise_NZ: Tensor, classes_N: Tensor | None = None) -> Tensor:
        """Return latents (N, H)."""
        if classes_N is None:
            return on_sphere(noise_NZ)
        chosen_NC = F.one_hot(classes_N, self.classes).float()
        return torch.cat([on_sphere(noise_NZ), chosen_NC], dim=1)


class Dcgan(nn.Module):
    """Latents to images in [-1, 1]; any latent goes back on the sphere first.

    Of a conditional one's latent, the first Z entries go on the sphere, and the other C, which a
    mean of latents may have mixed, are made to be at least 0 and to sum to 1.

    Args:
        layers: from (N, H, 1, 1) to images.
        latent_dim: H.
        classes: C; 0 for an unconditional generator.
    """

    def __init__(self, layers: nn.Sequential, latent_dim: int, classes: int = 0) -> None:
        super().__init__()
        self.layers = layers
        self.noise_dim, self.classes = latent_dim - classes, classes

    def forward(self, latents_NH: Tensor) -> Tensor:
        """Return images (N, channels, height, width)."""
        inputs_NH = on_sphere(latents_NH[:, : self.noise_dim])
        if self.classes:
            shares_NC = latents_NH[:, self.noise_dim :].clamp(min=0)
            shares_NC = shares_NC / shares_NC.sum(dim=1, keepdim=True).clamp(min=_SMALLEST)
            inputs_NH = torch.cat([inputs_NH, shares_NC], dim=1)
        images: Tensor = self.layers(inputs_NH[:, :, None, None])
        return images


def build(state: State, field: str, classes: int = 0) -> Dcgan:
    """Build the network that a state dict fits.

    The layers are those of the paper, whatever their names: a 4x4 transposed convolution with
    stride 1, then ones with stride 2; between them batch normalisation and ReLU; at the end tanh.

    Args:
        state: in the layers' order, as `torch.save` keeps it.
        field: the file's name, for errors.
        classes: C, how many of the first layer's inputs are a one-hot class.

    Raises:
        GeneratorError: if it is not the state dict of a DCGAN's generator.
    """
    layers, width = nn.Sequential(), 0
    for name, part in _modules(state).items():
        weight = part.get("weight")
        if weight is not None and weight.ndim == 4 and tuple(weight.shape[2:]) == (KERNEL, KERNEL):
            _expect(weight.shape[0] == width or not width, field, f"{name} does not fit")
            layers.append(_convolution(part, first=not width))
            width = weight.shape[1]
        elif all(key in part and tuple(part[key].shape) == (width,) for key in _STATISTICS):
            layers.extend([_normalisation(part), nn.ReLU()])
        else:
            raise _wrong(field, f"{name} is none of its layers")
    _expect(bool(width), field, "it is empty")
    ends = isinstance(layers[-1], nn.ConvTranspose2d) and width in (1, 3)
    _expect(ends, field, "it does not end in a grey or colour image")
    latent_dim = int(next(iter(layers.parameters())).shape[0])
    _expect(classes < latent_dim, field, f"its latent is {latent_dim} wide, too few for classes")
    return Dcgan(layers.append(nn.Tanh()), latent_dim, classes).float().eval()


def _modules(state: State) -> dict[str, dict[str, Tensor]]:
    """Group tensors by the module they belong to, in order."""
    modules: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        module, _, key = name.rpartition(".")
        modules.setdefault(module, {})[key] = tensor
    return modules


def _convolution(part: Mapping[str, Tensor], first: bool) -> nn.ConvTranspose2d:
    weight, bias = part["weight"], part.get("bias")
    stride, padding = (1, 0) if first else (2, 1)
    layer = nn.ConvTranspose2d(
        weight.shape[0], weight.shape[1], KERNEL, stride, padding, bias=bias is not None
    )
    layer.load_state_dict(dict(part))
    return layer


def _normalisation(part: Mapping[str, Tensor]) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(len(part["weight"]))
    layer.load_state_dict(dict(part), strict=False)  # without the batches counted, it is as good
    return layer


def _expect(fits: bool, field: str, problem: str) -> None:
    if not fits:
        raise _wrong(field, problem)


def _wrong(field: str, problem: str) -> GeneratorError:
    return GeneratorError(
        field, f"is not the state dict of a DCGAN's generator: {problem}", "name another file"
    )
