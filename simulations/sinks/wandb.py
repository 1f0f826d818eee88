"""Weights & Biases: a run is a run of the project "edgeloop", written to a folder or sent."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from simulations.results.folder import WHOLE, flat
from simulations.results.measurements import Row
from simulations.sinks.sink import RESULTS, numbers

PROJECT = "edgeloop"
MODE, KEY = "WANDB_MODE", "WANDB_API_KEY"


class WandB:
    """Logs the configuration and every metric of a round at its step.

    A run has the same identity however often it continues, so that what is sent is one run. It is
    sent where WANDB_API_KEY or WANDB_MODE=online says so; else it is written to the folder alone,
    for `wandb sync`. There a run that continues has a folder more, with all its rounds.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Any = None

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return f"wandb:{self._folder}"

    def begin(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Open the run, and log what it had before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        identity = json.dumps([str(folder.resolve()), config], sort_keys=True)
        values = {key: value for key, value in flat(config).items() if key not in WHOLE}
        self._run = wandb.init(
            project=PROJECT,
            name=folder.resolve().name,
            id=hashlib.sha256(identity.encode()).hexdigest()[:32],
            dir=str(self._folder),
            config=values,
            mode=_mode(),
            resume="allow",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, x_disable_stats=True
            ),
            reinit="create_new",
        )
        for row in rows:
            self.row(row)

    def row(self, row: Row) -> None:
        """Log a round's metrics at its step."""
        self._open().log(numbers(row), step=row.round)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Write the results."""
        self._open().summary.update({name: summary[name] for name in RESULTS})

    def close(self) -> None:
        """Write what is still to be written."""
        if self._run is not None:
            self._run.finish()

    def _open(self) -> Any:
        if self._run is None:
            raise RuntimeError("it got a round before it got a run")
        return self._run


def _mode() -> Any:
    """Return how runs are kept: as the environment says, and in the folder alone without a key."""
    return os.environ.get(MODE) or ("online" if os.environ.get(KEY) else "offline")


def make(place: str) -> WandB:
    """Return the sink for a folder."""
    return WandB(Path(place))
