"""A generator behind Triton beside the same one in process, in one run (`make bench-generator`).

Shape suffixes: N samples, H entries of a latent.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks import environment
from benchmarks.processes import resident
from cloud.generator_service import repository, server
from cloud.generator_service.settings import Serving
from edgeloop import generators
from edgeloop.cli import console
from edgeloop.errors import ConfigError, GeneratorError
from edgeloop.generator import Generator, Images, Latents
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.generators.triton import TritonGenerator, load_version

BATCHES = (1, 10, 100)
LEAST_CALLS = 100
"""A 99th percentile of fewer is a guess."""

VARIANTS = {
    "Triton": Serving(),
    "Triton, no delay": Serving(delay_microseconds=0),
    "Triton, 1 ms delay": Serving(delay_microseconds=1000),
    "Triton, no arena": Serving(arena=False),
    "Triton, memory pattern": Serving(memory_pattern=True),
    "Triton, 2 threads": Serving(threads=2),
}
"""The first is what `edgeloop generator serve` does; each other one differs in what it says."""

CACHED = "Triton, asked again"


@dataclass
class BenchmarkedGenerator:
    """A way to get images, and its seconds by batch size."""

    name: str
    generator: Generator
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def time(self, latents_NH: Latents) -> Images:
        """Return the images of latents, and keep how long they took."""
        begun = time.perf_counter()
        images = self.generator.synthesize(latents_NH)
        self.seconds.setdefault(len(latents_NH), []).append(time.perf_counter() - begun)
        return images


def main(
    generator: Annotated[str, typer.Option(help="An embedded or stored one, or a folder.")] = (
        generators.EMBEDDED
    ),
    calls: Annotated[int, typer.Option(help="Of each, at each batch size.")] = LEAST_CALLS,
    home: Annotated[Path | None, typer.Option(help="The tritonserver's folder.")] = None,
) -> None:
    """Measure latency at batches of 1, 10 and 100, start-up and memory."""
    if calls < LEAST_CALLS:
        raise ConfigError("calls", f"{calls} is below {LEAST_CALLS}", "measure as many or more")
    folder = generators.folder_of(generator)
    with tempfile.TemporaryDirectory() as scratch, _serving(folder, Path(scratch), home) as served:
        resources = {"Triton": served.resources, "in process": _in_process(folder)}
        contestants = [BenchmarkedGenerator("in process", OnnxGenerator(folder)), *served.others()]
        time_interleaved(contestants, calls)
    report(Path(folder).name, contestants, resources, calls)


@dataclass(frozen=True)
class Served:
    """A running server with one generator, that more settings of it can be added to."""

    folder: Path
    models: Path
    place: str
    resources: dict[str, float]

    def others(self) -> list[BenchmarkedGenerator]:
        """Serve the generator with each variant of the settings; return them all."""
        return [
            BenchmarkedGenerator(name, self._load(f"g{number}", serving))
            for number, (name, serving) in enumerate(VARIANTS.items())
        ]

    def _load(self, name: str, serving: Serving) -> TritonGenerator:
        described = repository.write(self.folder, self.models, name, serving=serving)
        load_version(f"{self.place}/{name}", 1, described.identity)
        return TritonGenerator(f"{self.place}/{name}")


@contextmanager
def _serving(folder: Path, scratch: Path, home: Path | None) -> Iterator[Served]:
    """Run a server with the first variant; its start-up and memory are measured."""
    ports = server.free_ports()
    models = scratch / "models"
    repository.write(folder, models, "g0", serving=VARIANTS["Triton"])
    begun = time.perf_counter()
    with server.running(models, server.find_installation(home), ports, scratch / "log") as process:
        place = f"{generators.TRITON}127.0.0.1:{ports.grpc}"
        generator = TritonGenerator(f"{place}/g0")
        started = time.perf_counter() - begun
        _exercise(generator)
        processes = [process.pid, *server.model_processes(process.pid)]
        memory = sum(resident(each) for each in processes)
        yield Served(folder, models, place, {"seconds": started, "mebibytes": memory})


def _in_process(folder: Path) -> dict[str, float]:
    """Measure start-up and memory in a process of its own, without what it had before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_start, (folder,))


def _start(folder: Path) -> dict[str, float]:
    before, begun = resident(None), time.perf_counter()
    generator = OnnxGenerator(folder)
    started = time.perf_counter() - begun
    _exercise(generator)
    return {"seconds": started, "mebibytes": resident(None) - before}


def _exercise(generator: Generator) -> None:
    for size in BATCHES:
        generator.synthesize(generator.sample_latents(size, seed=size))


def time_interleaved(contestants: list[BenchmarkedGenerator], calls: int) -> None:
    """Time one call of each after another, so that a busy moment falls on all alike.

    The latents are new each time, or the server would answer from its cache; the last contestant
    is that cache.
    """
    local, first = contestants[:2]
    cached = BenchmarkedGenerator(CACHED, first.generator)
    with console.progress("calls", len(BATCHES) * calls) as watch:
        for row, size in enumerate(BATCHES):
            for call in range(-2, calls):  # two more to warm up
                latents = local.generator.sample_latents(size, seed=size * 100_000 + call + 2)
                _check([each.time(latents) for each in (*contestants, cached)])
                watch(row * calls + max(0, call + 1), f"batch {size}")
    contestants.append(cached)
    for each in contestants:
        each.seconds = {size: times[2:] for size, times in each.seconds.items()}


def _check(images: Sequence[Images]) -> None:
    """Refuse to time wrong answers."""
    for each in images[1:]:
        if np.abs(each.astype(int) - images[0]).max() > 1:
            raise GeneratorError("images", "differ from those in process", "find out why first")


def report(
    name: str,
    contestants: Sequence[BenchmarkedGenerator],
    resources: dict[str, dict[str, float]],
    calls: int,
) -> None:
    """Print and write the percentiles, and what each needs to run."""
    found = {each.name: percentiles(each.seconds) for each in contestants}
    columns = ("", *(f"batch {size}: p50 / p99 ms" for size in BATCHES), "start, s", "memory, MiB")
    rows = [
        [name, *map(_cell, each.values()), *_needs(resources.get(name))]
        for name, each in found.items()
    ]
    title = f"{name}: {calls} calls of each, in turn"
    console.table(title, columns, rows)
    machine = environment.machine()
    content = {"machine": machine, "generator": name, "calls": calls, "milliseconds": found}
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    text = f"{title}\n\n{environment.markdown(columns, rows)}\n{about}\n"
    environment.write("generator", {**content, "resources": resources}, text)


def percentiles(seconds: dict[int, list[float]]) -> dict[str, dict[str, float]]:
    """Return the median and the 99th percentile by batch size, in milliseconds."""
    return {
        str(size): {
            f"p{rank}": float(np.percentile(times, rank, method="higher")) * 1000
            for rank in (50, 99)
        }
        for size, times in seconds.items()
    }


def _cell(found: dict[str, float]) -> str:
    return f"{found['p50']:.2f} / {found['p99']:.2f}"


def _needs(resources: dict[str, float] | None) -> list[str]:
    if resources is None:
        return ["", ""]
    return [f"{resources['seconds']:.2f}", f"{resources['mebibytes']:.0f}"]


if __name__ == "__main__":
    raise SystemExit(environment.run(main, "generator"))
