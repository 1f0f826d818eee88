"""A generator by its reference, as a person at this machine writes it."""

from pathlib import Path

from edgeloop import generators
from edgeloop.generator import Generator


def load_generator(reference: str | Path = generators.EMBEDDED) -> Generator:
    """Return a generator: `sample_latents(count, seed)`, `synthesize(latents)` to images.

    Args:
        reference: `digits`, a name in the store, a folder, triton://HOST:PORT/NAME, diffusers:...,
            another package's NAME:..., or an import path `pkg.module:NAME:...`.

    Raises:
        ConfigError: if it is another package's, and that is broken.
        GeneratorError: if there is none, it is damaged, or it cannot be reached.
    """
    return generators.load(generators.admit(str(reference)))
