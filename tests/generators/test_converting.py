"""Torch modules become a generator's folder; onnxruntime makes their images, or it is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeloop.errors import GeneratorError
from edgeloop.generator import drawn_classes, noise
from edgeloop.generators import converting, manifest
from edgeloop.generators.converting import Parts
from edgeloop.generators.onnx import OnnxGenerator

ABOUT = {"name": "small", "title": "Small", "source": "drawn", "licence": "Apache-2.0"}


class Mapping(nn.Module):
    """Noise (N, 3) and perhaps classes to latents (N, 4); batch norm, so that the mode matters."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh())
        self.embed = nn.Embedding(max(classes, 1), 4)

    def forward(self, noise_NZ: Tensor, classes_N: Tensor | None = None) -> Tensor:
        latents_NH: Tensor = self.layers(noise_NZ)
        return latents_NH if classes_N is None else latents_NH + self.embed(classes_N)


class Synthesis(nn.Module):
    """Latents (N, 4) to images (N, 3, 6, 6), some of whose pixels are beyond white and black."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(4, 2 * 9)
        self.grow = nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, latents_NH: Tensor) -> Tensor:
        images: Tensor = self.grow(self.drop(self.start(latents_NH)).view(-1, 2, 3, 3))
        return 2 * images


def small(classes: int = 0, sphere: int = 0) -> Parts:
    torch.manual_seed(0)
    mapping = Mapping(classes)
    mapping.layers(torch.randn(50, 3))  # so that the running statistics are not their first
    return Parts(mapping, Synthesis(), 3, classes, sphere)


@torch.no_grad()
def by_torch(parts: Parts, latents_NH: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels, one image at a time, not rounded."""
    images = [parts.synthesis.eval()(row) for row in torch.from_numpy(latents_NH).split(1)]
    pixels: NDArray[np.float32] = ((torch.cat(images) + 1) * 127.5).clamp(0, 255).numpy()
    return pixels


@pytest.mark.parametrize("classes", [0, 4])
def test_the_folder_draws_the_modules_latents(tmp_path: Path, classes: int) -> None:
    parts = small(classes)
    converting.convert(parts, tmp_path, ABOUT)
    inputs = [torch.from_numpy(noise(7, 3, 2))]
    if classes:
        inputs.append(torch.from_numpy(drawn_classes(7, classes, 2)))
    with torch.no_grad():
        expected = parts.mapping.eval()(*inputs).numpy()
    found = OnnxGenerator(tmp_path).sample_latents(7, seed=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_its_images_are_torchs_within_a_grey_level(tmp_path: Path) -> None:
    parts = small()
    converting.convert(parts, tmp_path, ABOUT)
    made = OnnxGenerator(tmp_path)
    drawn = made.sample_latents(7, seed=2)
    latents_NH = np.concatenate([drawn, drawn.mean(axis=0, keepdims=True), 5 * drawn])
    expected, images = by_torch(parts, latents_NH), made.synthesize(latents_NH)
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images, expected, atol=0.51)
    assert {expected.min(), expected.max()} == {0, 255}
    assert len(np.unique(images)) > 100


def test_its_manifest_says_what_was_converted(tmp_path: Path) -> None:
    written = converting.convert(small(classes=4, sphere=2), tmp_path, ABOUT)
    assert written == manifest.read(tmp_path)
    assert {name: getattr(written, name) for name in ABOUT} == ABOUT
    assert (written.latent_dim, written.noise_dim, written.shape) == (4, 3, (3, 6, 6))
    assert (written.classes, written.sphere) == (4, 2)


def test_the_same_modules_are_the_same_generator(tmp_path: Path) -> None:
    identities = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        identities.append(converting.convert(small(), tmp_path / str(number), ABOUT).identity)
    assert identities[0] == identities[1]


class Unwritable(Synthesis):
    """In an operation that ONNX does not have."""

    def forward(self, latents_NH: Tensor) -> Tensor:
        images = super().forward(latents_NH)
        largest: Tensor = torch.linalg.svdvals(images)[:, :, :1].unsqueeze(3)
        return images * largest


class Broken(nn.Module):
    """Fails in torch."""

    def forward(self, noise_NZ: Tensor) -> Tensor:
        raise RuntimeError("the first line\nthe second")


class Counting(Mapping):
    """Depends on the batch, which a graph keeps as it was traced."""

    def forward(self, noise_NZ: Tensor, classes_N: Tensor | None = None) -> Tensor:
        return super().forward(noise_NZ) * float(len(noise_NZ))


class Growing(Synthesis):
    """Lays itself out for the batch that was traced, so that it cannot be run with another."""

    def forward(self, latents_NH: Tensor) -> Tensor:
        return super().forward(latents_NH).view(int(latents_NH.shape[0]), 3, 6, 6)


class Brightening(Synthesis):
    """Brighter in a larger batch."""

    def forward(self, latents_NH: Tensor) -> Tensor:
        return super().forward(latents_NH) + 0.01 * float(len(latents_NH))


class Numberless(Mapping):
    """Its latents are no numbers."""

    def forward(self, noise_NZ: Tensor, classes_N: Tensor | None = None) -> Tensor:
        return (-1 - super().forward(noise_NZ).square()).sqrt()


@pytest.mark.parametrize(
    ("mapping", "synthesis", "problem"),
    [
        (Mapping(), Unwritable(), "cannot be written as ONNX (Exporting the operator"),
        (Broken(), Synthesis(), "cannot be written as ONNX (the first line)"),
        (Counting(), Synthesis(), "onnxruntime, unlike torch, maps noise to other latents ("),
        (Numberless(), Synthesis(), "onnxruntime, unlike torch, maps noise to other latents (nan"),
        (Mapping(), Growing(), "onnxruntime, unlike torch, fails ("),
        (Mapping(), Brightening(), "onnxruntime, unlike torch, makes other images ("),
    ],
    ids=["unwritable", "broken", "counting", "numberless", "growing", "brightening"],
)
def test_what_cannot_be_converted_is_one_sentence(
    tmp_path: Path, mapping: nn.Module, synthesis: nn.Module, problem: str
) -> None:
    with pytest.raises(GeneratorError) as caught:
        converting.convert(Parts(mapping, synthesis, 3), tmp_path, ABOUT)
    assert caught.value.field == "small"
    assert caught.value.problem.startswith(problem)
    assert caught.value.remedy == "report it with the network"
    assert "\n" not in str(caught.value)
