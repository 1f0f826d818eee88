"""A Stable Diffusion folder as a generator: one prompt, the latent is the noise it starts from.

Rombach et al.: High-Resolution Image Synthesis with Latent Diffusion Models (2022).

Shape suffixes: N samples, H = channels * height * width entries of a latent.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import torch

from edgeloop.errors import GeneratorError
from edgeloop.generator import Images, Latents, check_width, noise, on_sphere
from edgeloop.generators.manifest import digest

SCHEME = "diffusers:"
GUIDANCE = 7.5
"""How much more the prompt counts than no prompt."""
BATCH = 4
"""Images a run."""


@dataclass(frozen=True)
class Source:
    """What images are made from.

    Attributes:
        folder: as `diffusers` saves a `StableDiffusionPipeline`, with safetensors.
        prompt: of every image.
        steps: of denoising.
        device: of the computation; no part of the identity.
    """

    folder: Path
    prompt: str = ""
    steps: int = 50
    device: str = "cpu"


class DiffusionGenerator:
    """A generator from a Stable Diffusion folder; slow: every image takes all steps.

    Its latents lie on the sphere of radius sqrt(H), where standard normal noise does: an average
    is shorter than any noise that the network has seen, and goes back there first.

    Args:
        reference: diffusers:FOLDER?prompt=TEXT&steps=50&device=cpu.

    Raises:
        GeneratorError: if the reference is wrong, the folder holds no such pipeline, or `diffusers`
            is not installed.
    """

    def __init__(self, reference: str) -> None:
        self.source = parse(reference)
        self._pipeline = _loaded(self.source)
        unet = self._pipeline.unet.config
        self._latent = (int(unet.in_channels), int(unet.sample_size), int(unet.sample_size))
        self._identity = _identity(self.source)

    @property
    def identity(self) -> str:
        """SHA-256 over the weights, prompt, steps and guidance."""
        return self._identity

    @property
    def latent_dim(self) -> int:
        """H."""
        return int(np.prod(self._latent))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image."""
        side = self._latent[1] * int(self._pipeline.vae_scale_factor)
        return (3, side, side)

    def sample_latents(self, count: int, seed: int) -> Latents:
        """Draw latents (N, H): standard normal noise, on the sphere."""
        return self.normalise(noise(count, self.latent_dim, seed))

    def normalise(self, latents_NH: Latents) -> Latents:
        """Return the latents (N, H) that images are really made from."""
        check_width(latents_NH, self.latent_dim)
        return on_sphere(latents_NH, self.latent_dim)

    def synthesize(self, latents_NH: Latents) -> Images:
        """Return the images (N, 3, height, width) of latents (N, H)."""
        placed_NH = self.normalise(latents_NH)
        parts = [placed_NH[start : start + BATCH] for start in range(0, len(placed_NH), BATCH)]
        return np.concatenate([np.zeros((0, *self.shape), np.uint8), *map(self._denoised, parts)])

    def _denoised(self, latents_NH: Latents) -> Images:
        count = len(latents_NH)
        # A scheduler that adds noise adds the same to each, so that neighbours do not matter.
        seeded = [torch.Generator().manual_seed(0) for _ in range(count)]
        made = self._pipeline(
            [self.source.prompt] * count,
            num_inference_steps=self.source.steps,
            guidance_scale=GUIDANCE,
            latents=torch.from_numpy(latents_NH.reshape(count, *self._latent)).to(
                self.source.device
            ),
            generator=seeded,
            output_type="np",
        )
        whole: Images = (made.images * 255).round().astype(np.uint8).transpose(0, 3, 1, 2)
        return whole


def parse(reference: str) -> Source:
    """Return what a reference names.

    Raises:
        GeneratorError: if a part of it is wrong.
    """
    folder, _, query = reference.removeprefix(SCHEME).partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    unknown = given.keys() - {"prompt", "steps", "device"}
    if unknown:
        problem = f"has no part named {', '.join(sorted(unknown))}"
        raise GeneratorError(reference, problem, "use prompt, steps and device")
    steps, device = given.get("steps", "50"), given.get("device", "cpu")
    if not (steps.isdecimal() and 1 <= int(steps) <= 1000):
        raise GeneratorError(reference, f"steps={steps} is no number of steps", "use 1 to 1000")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise GeneratorError(reference, f"there is no device {device!r}", "use cpu, or cuda")
    return Source(Path(folder), given.get("prompt", ""), int(steps), device)


def _loaded(source: Source) -> Any:
    """Return the pipeline; weights are safetensors alone, and nothing is looked for elsewhere."""
    if not (source.folder / "model_index.json").is_file():
        remedy = "name a folder that diffusers saved a StableDiffusionPipeline in"
        raise GeneratorError(str(source.folder), "holds no model_index.json", remedy)
    try:
        from diffusers import StableDiffusionPipeline  # only here must it be there
    except ImportError as error:
        remedy = "pip install 'edgeloop[diffusion]'"
        raise GeneratorError("diffusers", "is not installed", remedy) from error
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(
            str(source.folder), use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # diffusers' and transformers' exceptions have no other common base
        reason = str(error).strip().partition("\n")[0][:200]
        problem = f"cannot be read as a StableDiffusionPipeline ({reason})"
        raise GeneratorError(str(source.folder), problem, "fetch the folder again") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(source.device)


def _identity(source: Source) -> str:
    """Return the SHA-256 of what images depend on."""
    weights = {
        path.relative_to(source.folder).as_posix(): digest(path)
        for path in sorted(source.folder.rglob("*"))
        if path.suffix in (".safetensors", ".json", ".txt")
    }
    content = {"weights": weights, "prompt": source.prompt, "steps": source.steps}
    text = json.dumps(content | {"guidance": GUIDANCE}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
