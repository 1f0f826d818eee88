"""Whether a served generator is ready: it makes one image, and is the one that is expected."""

import secrets
import time
from dataclasses import dataclass

from edgeloop.errors import GeneratorError
from edgeloop.generators.triton import TritonGenerator


@dataclass(frozen=True)
class Readiness:
    """A generator that is ready.

    Attributes:
        identity: SHA-256 of its weights.
        version: on the server.
        seconds: from the first request to the image.
    """

    identity: str
    version: int
    seconds: float


def probe(
    reference: str, expected: str | None = None, *, patience_seconds: float = 0.0
) -> Readiness:
    """Have a served generator make one image.

    Args:
        reference: triton://HOST:PORT/NAME.
        expected: the identity that it should have, or how it begins; None for any.
        patience_seconds: that the server may be away.

    Raises:
        GeneratorError: if it is not ready, or another one than expected.
    """
    begun = time.perf_counter()
    generator = TritonGenerator(reference, patience_seconds=patience_seconds)
    if expected is not None and not generator.identity.startswith(expected):
        problem = f"{generator.identity} is not the expected {expected}"
        raise GeneratorError("identity", problem, f"serve the expected one as {reference}")
    # Of no earlier probe: the server's response cache would answer for a model that cannot.
    generator.synthesize(generator.sample_latents(1, secrets.randbits(32)))
    return Readiness(generator.identity, generator.version, time.perf_counter() - begun)
