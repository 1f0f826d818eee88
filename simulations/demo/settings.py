"""What the demo is asked to do, checked before anything is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeloop import algorithms, generators
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import Option, Settings

ONCE = "class-statistics"
"""What the demo shows first: one exchange."""

Whole = Annotated[int, Field(ge=1)]


class DemoSettings(Settings):
    """The main job on this machine."""

    rounds: Whole = 20
    """Number of training rounds."""
    epochs: Whole = 5
    """Local epochs of a device per round."""
    devices: Annotated[int, Field(ge=2, le=50)] = 10
    """Number of devices."""
    images: Whole = 2
    """Images of each class on a device."""
    group: str = "small-4"
    """Model group; devices take its architectures in turn."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the images and the weights."""
    seeds: Annotated[int, Field(ge=1, le=20)] = 1
    """Number of seeds to repeat the demo with."""
    algorithm: str = "fedktl"
    """Algorithm to run after class statistics; see edgeloop algorithms."""
    generator: str | None = None
    """Generator; see `edgeloop generator list`. [default: digits]"""
    console: Annotated[bool | None, Option(name="--console/--no-console")] = None
    """Show a page of the demo until Ctrl-C. [default: on a terminal, with one seed]"""
    triton: bool = False
    """Serve the generator with a Triton of the demo's own."""
    out: Path | None = None
    """Output folder. [default: runs/demo-TIME]"""

    def check(self, architectures: Sequence[str]) -> None:
        """Find what can be found wrong before anything is written.

        Args:
            architectures: one a device.

        Raises:
            InputError: naming it.
        """
        if self.console and self.seeds > 1:
            raise ConfigError("--console", "shows one seed", "leave out --seeds, or --console")
        algorithm, asks = self.algorithm, algorithms.info(self.algorithm).generator
        first = algorithms.supported_options(algorithm, architecture=architectures[0])
        facts = algorithms.supported_options(algorithm, classes=1, width=1)
        algorithms.check_same_architecture(algorithm, architectures, **facts, **first)
        if problem := self._not_shown():
            known = ", ".join(_shown_with())
            raise ConfigError("--algorithm", problem, f"choose one of {known}")
        if (self.generator or self.triton) and not asks:
            option = "--generator" if self.generator else "--triton"
            raise ConfigError(option, f"{algorithm} asks no generator", "leave it out")
        if self.generator is not None:
            generators.load(self.generator)  # before the first task, which asks none

    def _not_shown(self) -> str:
        """Return why the demo does not show the algorithm; nothing if it does."""
        if "mqtt" not in algorithms.info(self.algorithm).runs_in:
            return f"{self.algorithm} sends nothing: the demo runs it beside any other as `alone`"
        return "the demo shows it beside any other" if self.algorithm == ONCE else ""


def _shown_with() -> list[str]:
    """Return what the demo can show after class statistics: what devices run, too."""
    runs = (name for name in algorithms.built_in() if "mqtt" in algorithms.info(name).runs_in)
    return [name for name in runs if name != ONCE]
