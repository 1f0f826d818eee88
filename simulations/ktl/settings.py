"""What the study of one client is asked to do, checked before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from edgeloop.errors import ConfigError, choose
from edgeloop.runtime.config import Option, Settings
from simulations.ktl.rows import ROWS
from simulations.settings import HyperparameterWords, RunSettings, Whole, parse_workers

SHOTS = 2


class Study(Settings):
    """What is compared: one client alone with the same client and a generator."""

    data: str
    """Data set: a parquet file, an image folder, or fashion-sample."""
    shots: Whole = SHOTS
    """Training samples per class, on average."""
    seeds: Whole | None = None
    """Number of runs of each baseline. [default: 10, or as the data allows]"""
    client: Annotated[int, Field(ge=0)] | None = None
    """Number of the client in every run. [default: a different one in each]"""
    test_samples: Whole | None = None
    """Test samples of all clients together. [default: 2000, or all]"""
    own_test_samples: bool = False
    """Test on the client's own samples only, as the paper does."""
    baselines: Annotated[tuple[str, ...], Option(default=",".join(ROWS))] = tuple(ROWS)
    """Baselines: local, etf-only, ktl, computed-base."""
    rounds: Whole = 200
    """Largest number of rounds."""
    patience: Whole = 80
    """Early stopping: rounds without a new best accuracy."""
    model: str = "cnn"
    """The client's architecture."""
    generator: str | None = None
    """Generator; see `edgeloop generator list`. [default: digits]"""
    options: HyperparameterWords = Field(default_factory=dict)
    """A hyperparameter of fedktl: key=value."""
    workers: Annotated[Whole | Literal["auto"], Option(parse=parse_workers)] = "auto"
    """Number of parallel runs, or auto for one per core."""
    folder: Annotated[Path, Option(name="--out", unsaid=True)] = Path()
    """Output folder of the study. [default: runs/ktl-SHOTS-shot]"""

    @model_validator(mode="before")
    @classmethod
    def _usual_folder(cls, table: Any) -> Any:
        """Name the folder by the shots where nobody names one."""
        if not isinstance(table, dict) or table.get("folder") is not None:
            return table
        return {**table, "folder": Path("runs") / f"ktl-{table.get('shots', SHOTS)}-shot"}

    @field_validator("baselines", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Take "local,ktl" apart."""
        return tuple(map(str.strip, value.split(","))) if isinstance(value, str) else value

    def check(self) -> None:
        """Find what can be found wrong without the data.

        Raises:
            ConfigError: naming it.
        """
        for name in self.baselines:
            if name not in ROWS:
                raise ConfigError("baselines", f"there is no {name!r}", choose(name, ROWS))
        if self.own_test_samples and self.test_samples is not None:
            problem = "asks for all clients' where --own-test-samples asks for one's"
            raise ConfigError("test-samples", problem, "leave one of them out")

    def settings(self, seed: int) -> RunSettings:
        """Return what the runs of one seed have in common."""
        return RunSettings(
            algorithm="fedktl",
            data=str(self.share(seed)),
            models=self.model,
            rounds=self.rounds,
            patience=self.patience,
            seed=seed,
            options=self.options,
            generator=self.generator,
            workers=1,
        )

    def identity(self) -> Mapping[str, Any]:
        """Return all that decides a run of this study, whichever seeds and baselines it has."""
        free = {"folder", "seeds", "baselines", "workers", "own_test_samples"}
        tested = "own" if self.own_test_samples else self.test_samples
        return {**self.model_dump(exclude=free), "test_samples": tested}

    def share(self, seed: int) -> Path:
        """Return where a seed's samples are."""
        return self.folder / "data" / f"{self.shots}-shot-seed-{seed}"

    def place(self, baseline: str, seed: int) -> Path:
        """Return where a run's results are."""
        return self.folder / baseline / f"seed-{seed}"
