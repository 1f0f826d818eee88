import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeloop.errors import GeneratorError
from edgeloop.generators import diffusion
from edgeloop.generators.diffusion import DiffusionGenerator, parse

# Of diffusers' own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_a_reference() -> None:
    source = parse("diffusers:some/folder?prompt=a+photo%20of a cat&steps=20")
    assert source == diffusion.Source(Path("some/folder"), "a photo of a cat", 20, "cpu")
    assert parse("diffusers:folder") == diffusion.Source(Path("folder"), "", 50, "cpu")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("steps=0", "steps=0 is no number of steps; use 1 to 1000"),
        ("steps=many", "steps=many is no number of steps"),
        ("device=tpu", "there is no device 'tpu'"),
        ("promt=cat", "has no part named promt; use prompt, steps and device"),
    ],
)
def test_a_wrong_reference(query: str, problem: str) -> None:
    with pytest.raises(GeneratorError, match=problem):
        parse(f"diffusers:folder?{query}")


def test_a_folder_without_a_pipeline(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"holds no model_index\.json"):
        DiffusionGenerator(f"diffusers:{tmp_path}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of drawn weights: latents of 4 x 8 x 8, images of 3 x 16 x 16."""
    diffusers: Any = pytest.importorskip("diffusers", reason="diffusers is not installed")
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    place = tmp_path_factory.mktemp("pipeline")
    torch.manual_seed(0)
    blocks = {"block_out_channels": (32, 64), "sample_size": 8, "norm_num_groups": 8}
    unet = diffusers.UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **blocks,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 32),
        norm_num_groups=8,
        latent_channels=4,
        sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    diffusers.StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder(transformers),
        tokenizer=tokenizer(place.parent, transformers),
        scheduler=diffusers.EulerAncestralDiscreteScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(place)
    return place


def text_encoder(transformers: Any) -> Any:
    config = transformers.CLIPTextConfig(
        vocab_size=6,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return transformers.CLIPTextModel(config)


def tokenizer(folder: Path, transformers: Any) -> Any:
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "c": 2, "c</w>": 3, "d": 4, "d</w>": 5}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8
    )


def test_images_follow_the_latents(folder: Path) -> None:
    made = DiffusionGenerator(f"diffusers:{folder}?prompt=c&steps=2")
    assert (made.latent_dim, made.shape) == (256, (3, 16, 16))
    latents = made.sample_latents(6, 0)
    np.testing.assert_allclose(np.linalg.norm(latents, axis=1), 16, rtol=1e-5)
    images = made.synthesize(latents)
    assert images.shape == (6, 3, 16, 16)
    assert images.dtype == np.uint8
    assert (images[0] != images[1]).any()
    # Shorter, and in another batch, a latent makes the same image within a grey level.
    again = made.synthesize(latents[4:5] * np.float32(0.1)).astype(int)
    assert np.abs(again - images[4:5]).max() <= 1
    assert made.synthesize(latents[:0]).shape == (0, 3, 16, 16)
    with pytest.raises(ValueError, match="the generator's are 256 wide"):
        made.synthesize(latents[:, :5])


def test_the_identity_is_of_weights_prompt_and_steps(folder: Path) -> None:
    references = [f"diffusers:{folder}{query}" for query in ("", "?prompt=c", "?steps=2", "")]
    first, prompted, shorter, again = (DiffusionGenerator(name).identity for name in references)
    assert first == again
    assert len({first, prompted, shorter}) == 3


def test_a_damaged_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_bytes((folder / "model_index.json").read_bytes())
    with pytest.raises(GeneratorError, match="cannot be read as a StableDiffusionPipeline"):
        DiffusionGenerator(f"diffusers:{tmp_path}")
