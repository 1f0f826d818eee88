"""A generator and an algorithm that measure how long they take.

Shape suffixes: N samples, H entries of a latent.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cloud.aggregator.metrics import Metrics, Operation
from cloud.aggregator.standing import Loaded
from cloud.aggregator.watch import EventReporter
from edgeloop.generator import Generator, Images, Latents
from edgeloop.runtime.tracing import Tracer


def timed_algorithm(
    algorithm: Loaded, metrics: Metrics, tracer: Tracer, watch: Callable[[], EventReporter]
) -> Loaded:
    """Return an algorithm whose aggregation is a span of the round's trace, and in the metrics.

    Args:
        algorithm: that does the work.
        metrics: have its seconds.
        tracer: makes the span.
        watch: returns what reports the open round.
    """

    def timed(aggregate: Callable[..., Any]) -> Callable[..., Any]:
        def merge(*uploads: Any) -> Any:
            begun, round_watch = time.monotonic(), watch()
            with tracer.span("aggregate", round_watch.notes, round_watch.answers):
                result = aggregate(*uploads)
            metrics.step("aggregate", time.monotonic() - begun)
            return result

        return merge

    weighted = algorithm.aggregate_weighted
    return replace(
        algorithm,
        aggregate_by_name=timed(algorithm.aggregate_uploads),
        aggregate_weighted=None if weighted is None else timed(weighted),
    )


class TimedGenerator:
    """A generator in front of another one.

    Args:
        generator: that does the work.
        on_call: which operation was answered, and after how many seconds.
    """

    def __init__(self, generator: Generator, on_call: Callable[[Operation, float], None]) -> None:
        self._generator = generator
        self._on_call = on_call

    @property
    def identity(self) -> str:
        """SHA-256 of the weights."""
        return self._generator.identity

    @property
    def latent_dim(self) -> int:
        """H."""
        return self._generator.latent_dim

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, channels first."""
        return self._generator.shape

    def sample_latents(self, count: int, seed: int) -> Latents:
        """Draw latents (N, H), as the other one does."""
        begun = time.monotonic()
        latents_NH = self._generator.sample_latents(count, seed)
        self._on_call("sample_latents", time.monotonic() - begun)
        return latents_NH

    def normalise(self, latents_NH: Latents) -> Latents:
        """Return the latents (N, H) that images are really made from."""
        return self._generator.normalise(latents_NH)

    def synthesize(self, latents_NH: Latents) -> Images:
        """Return the images of latents (N, H), as the other one does."""
        begun = time.monotonic()
        images_N = self._generator.synthesize(latents_NH)
        self._on_call("synthesize", time.monotonic() - begun)
        return images_N
