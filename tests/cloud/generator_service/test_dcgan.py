import io
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cloud.generator_service import dcgan
from edgeloop.errors import GeneratorError
from edgeloop.generators import converting
from edgeloop.generators.onnx import OnnxGenerator
from tests.cloud.generator_service.states import saved, tiny_state

ABOUT = {"name": "tiny"}


def generator(folder: Path, classes: int = 0) -> OnnxGenerator:
    network = dcgan.build(tiny_state(), "tiny.pt", classes)
    parts = converting.Parts(
        dcgan.SphereMapping(classes), network, network.noise_dim, classes, network.noise_dim
    )
    converting.convert(parts, folder, ABOUT)
    return OnnxGenerator(folder)


def test_its_latents_lie_on_the_sphere(tmp_path: Path) -> None:
    made = generator(tmp_path)
    latents = made.sample_latents(5, 3)
    assert (made.latent_dim, made.shape) == (6, (3, 16, 16))
    np.testing.assert_allclose(np.linalg.norm(latents, axis=1), np.sqrt(6), rtol=1e-5)


def test_the_length_of_a_latent_does_not_matter(tmp_path: Path) -> None:
    made = generator(tmp_path)
    latents = made.sample_latents(5, 3)
    whole = made.synthesize(latents).astype(int)
    assert np.abs(whole - made.synthesize(latents * np.float32(0.001))).max() <= 1
    assert np.abs(whole[0] - whole[1]).max() > 10
    assert len(np.unique(whole)) > 50


def test_no_latent_is_no_image_but_numbers(tmp_path: Path) -> None:
    made = generator(tmp_path)
    latents = np.zeros((1, 6), np.float32)
    network = dcgan.build(tiny_state(), "tiny.pt")
    with torch.no_grad():
        assert torch.isfinite(network(torch.from_numpy(latents))).all()
    assert made.synthesize(latents).shape == (1, 3, 16, 16)


def test_images_are_those_of_torch(tmp_path: Path) -> None:
    made = generator(tmp_path)
    latents = made.sample_latents(3, 0)
    network = dcgan.build(tiny_state(), "tiny.pt")
    with torch.no_grad():
        by_torch = network(torch.from_numpy(latents)).numpy()
    pixels = np.clip((by_torch + 1) * 127.5, 0, 255)
    np.testing.assert_allclose(made.synthesize(latents), pixels, atol=0.51)


def test_classes_are_one_hot_behind_the_noise(tmp_path: Path) -> None:
    made = generator(tmp_path, classes=2)
    latents = made.sample_latents(20, 0)
    np.testing.assert_allclose(np.linalg.norm(latents[:, :4], axis=1), 2, rtol=1e-5)
    assert {tuple(row) for row in latents[:, 4:].tolist()} == {(0.0, 1.0), (1.0, 0.0)}
    assert made.manifest.classes == 2
    assert made.manifest.sphere == 4


def test_mixed_classes_sum_to_one() -> None:
    seen: list[Tensor] = []
    network = dcgan.build(tiny_state(), "tiny.pt", classes=3)
    network.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.tensor([[0.0, 3.0, 4.0, 2.0, -1.0, 6.0], [0.0] * 6]))
    root = 3**0.5
    expected = torch.tensor([[0.0, 0.6 * root, 0.8 * root, 0.25, 0.0, 0.75], [0.0] * 6])
    torch.testing.assert_close(seen[0][:, :, 0, 0], expected)


def test_a_mapping_reads_noise_of_any_length() -> None:
    latents = dcgan.SphereMapping(2)(torch.tensor([[3.0, 4.0]]), torch.tensor([1]))
    root = 2**0.5
    torch.testing.assert_close(latents, torch.tensor([[0.6 * root, 0.8 * root, 0.0, 1.0]]))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"0.weight": torch.zeros(6, 5, 4, 4)}, "1 is none of its layers"),
        ({"3.weight": torch.zeros(9, 2, 4, 4)}, "3 does not fit"),
        ({"9.weight": torch.zeros(3, 4)}, "9 is none of its layers"),
        ({"6.weight": torch.zeros(2, 5, 4, 4)}, "it does not end in a grey or colour image"),
        ({"1.running_mean": torch.zeros(3)}, "1 is none of its layers"),
    ],
)
def test_another_networks_state(change: dict[str, Tensor], problem: str) -> None:
    with pytest.raises(GeneratorError, match=problem):
        dcgan.build({**tiny_state(), **change}, "other.pt")


def test_an_empty_state() -> None:
    with pytest.raises(GeneratorError, match="it is empty"):
        dcgan.build({}, "other.pt")


def test_too_many_classes() -> None:
    with pytest.raises(GeneratorError, match="its latent is 6 wide"):
        dcgan.build(tiny_state(), "other.pt", classes=6)


def test_a_state_under_a_key() -> None:
    content = saved({"weights": tiny_state()})
    assert list(dcgan.read_state(content, "a.pt", "weights")) == list(tiny_state())
    with pytest.raises(GeneratorError, match=r"a\.pt: holds no state dict under 'others'"):
        dcgan.read_state(content, "a.pt", "others")
    with pytest.raises(GeneratorError, match=r"a\.pt: holds no state dict; give --key weights"):
        dcgan.read_state(content, "a.pt")
    two = saved({"netG": tiny_state(), "netD": tiny_state(), "epoch": 3})
    with pytest.raises(GeneratorError, match=r"give --key netG, of netG, netD"):
        dcgan.read_state(two, "a.pt", "generator")
    with pytest.raises(GeneratorError, match=r"a\.pt: holds no state dict; save"):
        dcgan.read_state(saved({"epoch": 3}), "a.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float) -> None:
    state = tiny_state()
    name = next(iter(state))
    state[name].view(-1)[1] = value
    with pytest.raises(GeneratorError, match=rf"a\.pt: `{name}` holds a number that is not finite"):
        dcgan.read_state(saved(state), "a.pt")


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return sys.intern, ("code was run",)


@pytest.mark.parametrize(
    "content",
    [b"", b"no file of torch", pickle.dumps(Evil()), saved({"0.weight": Evil()})],
    ids=["empty", "other", "pickle", "object"],
)
def test_what_is_no_plain_state_is_refused(content: bytes) -> None:
    with pytest.raises(GeneratorError, match=r"^bad\.pt: cannot be read as plain tensors"):
        dcgan.read_state(content, "bad.pt")


def test_a_damaged_file_is_refused() -> None:
    content = io.BytesIO(saved(tiny_state())).getvalue()
    with pytest.raises(GeneratorError, match=r"^bad\.pt: "):
        dcgan.read_state(content[: len(content) // 2], "bad.pt")
