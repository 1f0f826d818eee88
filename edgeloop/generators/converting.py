"""Two torch modules, a mapping and a synthesis, become a generator's folder, checked against torch.

Shape suffixes: N samples, Z noise entries, H entries of a latent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeloop.errors import GeneratorError
from edgeloop.generator import drawn_classes, noise
from edgeloop.generators import manifest
from edgeloop.generators.manifest import MAPPING, SYNTHESIS, Manifest
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.models.tracing import trace_graph
from edgeloop.runtime import atomic_files

GREY_LEVELS = 1
"""How far onnxruntime's pixels may be from torch's."""
LATENTS = 1e-3
"""How far onnxruntime's latents may be from torch's, in parts of the largest entry."""

_CHECKED = 5


@dataclass(frozen=True)
class Parts:
    """A generator in torch.

    Attributes:
        mapping: noise (N, Z) [and classes (N,)] to latents (N, H).
        synthesis: latents (N, H) to images (N, channels, height, width) in [-1, 1].
        noise_dim: Z.
        classes: of a conditional mapping; 0 if it takes none.
        sphere: how many of a latent's first entries lie on a sphere; 0 if none do.
    """

    mapping: nn.Module
    synthesis: nn.Module
    noise_dim: int
    classes: int = 0
    sphere: int = 0


class Pixels(nn.Module):
    """A synthesis whose images are bytes: clip((g + 1) * 127.5, 0, 255), rounded."""

    def __init__(self, synthesis: nn.Module) -> None:
        super().__init__()
        self.synthesis = synthesis

    def forward(self, latents_NH: Tensor) -> Tensor:
        """Return images (N, channels, height, width) as uint8."""
        images: Tensor = self.synthesis(latents_NH)
        return ((images + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


@torch.no_grad()
def convert(parts: Parts, folder: Path, about: Mapping[str, str]) -> Manifest:
    """Write a generator's folder, and check that onnxruntime makes torch's images.

    Args:
        parts: the generator; put into evaluation mode.
        folder: an empty one.
        about: name, title, source and licence, for the manifest.

    Raises:
        GeneratorError: if the network cannot be written as ONNX, or says something else there.
    """
    synthesis = Pixels(parts.synthesis).eval()
    inputs = _inputs(parts, 2)
    try:
        latents_NH = parts.mapping.eval()(*inputs)
        images = synthesis(latents_NH)
        _export(parts.mapping, inputs, ["noise", "classes"], "latents", folder / MAPPING)
        _export(synthesis, (latents_NH,), ["latents"], "images", folder / SYNTHESIS)
    except (RuntimeError, TypeError, ValueError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().partition("\n")[0][:200]
        problem = f"cannot be written as ONNX ({reason})"
        raise GeneratorError(about["name"], problem, "report it with the network") from error
    written = manifest.write(
        folder,
        latent_dim=latents_NH.shape[1],
        noise_dim=parts.noise_dim,
        classes=parts.classes,
        sphere=parts.sphere,
        shape=tuple(images.shape[1:]),
        **about,
    )
    _check(parts, synthesis, OnnxGenerator(folder), about["name"])
    return written


def _inputs(parts: Parts, count: int) -> tuple[Tensor, ...]:
    """Return what `sample_latents` would feed, so that both draw the same latents."""
    drawn = [torch.from_numpy(noise(count, parts.noise_dim, 0))]
    if parts.classes:
        drawn.append(torch.from_numpy(drawn_classes(count, parts.classes, 0)))
    return tuple(drawn)


def _export(
    module: nn.Module, inputs: tuple[Tensor, ...], names: list[str], output: str, path: Path
) -> None:
    """Write a module as ONNX; the file is a function of graph and weights, not of torch's name."""
    model = trace_graph(module, inputs, names[: len(inputs)], output)
    model.producer_name, model.producer_version = "edgeloop", ""
    onnx.checker.check_model(model, full_check=True)
    atomic_files.write(path, model.SerializeToString(deterministic=True))


def _check(parts: Parts, synthesis: nn.Module, written: OnnxGenerator, name: str) -> None:
    """Compare samples and their mean, in another batch than the one that was traced."""
    for module in (parts.mapping, synthesis):
        for key, tensor in module.state_dict().items():
            if not tensor.isfinite().all():
                problem = f"`{key}` holds a number that is not finite: the training diverged"
                raise GeneratorError(name, problem, "import an earlier checkpoint")
    ours_NH = parts.mapping(*_inputs(parts, _CHECKED)).numpy()
    theirs_NH = _run(name, lambda: written.sample_latents(_CHECKED, 0))
    apart = float(np.abs(ours_NH - theirs_NH).max() / max(np.abs(ours_NH).max(), 1e-8))
    if not apart <= LATENTS:
        raise _differs(name, f"maps noise to other latents ({apart:.3g} of the largest)")
    latents_NH = np.concatenate([ours_NH, ours_NH.mean(axis=0, keepdims=True)])
    ours = synthesis(torch.from_numpy(latents_NH)).numpy().astype(int)
    levels = int(np.abs(ours - _run(name, lambda: written.synthesize(latents_NH))).max())
    if levels > GREY_LEVELS:
        raise _differs(name, f"makes other images ({levels} grey levels)")


def _run(name: str, run: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    try:
        return run()
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        reason = str(error).partition("\n")[0][:200]
        raise _differs(name, f"fails ({reason})") from error


def _differs(name: str, how: str) -> GeneratorError:
    return GeneratorError(name, f"onnxruntime, unlike torch, {how}", "report it with the network")
