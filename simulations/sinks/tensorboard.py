"""TensorBoard: a run is a folder of its own name in the sink's folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from simulations.results.measurements import Row
from simulations.sinks.sink import RESULTS, numbers

SECONDS = 10
"""At most so long until what it got is in the file."""


class TensorBoard:
    """Writes every metric of a round as a scalar, and the configuration as a text.

    A run that continues is written again from its first round: what an event file of a killed
    process says of the same rounds is marked as void, which TensorBoard knows how to read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return f"tensorboard:{self._folder}"

    def begin(self, folder: Path, config: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Open the run's event file."""
        place = self._folder / folder.resolve().name
        self._writer = SummaryWriter(str(place), purge_step=0, flush_secs=SECONDS)
        text = json.dumps(config, indent=1, sort_keys=True).replace("\n", "\n    ")
        self._writer.add_text("config", f"    {text}")  # indented: Markdown takes it as it is
        for row in rows:
            self.row(row)

    def row(self, row: Row) -> None:
        """Add a round's scalars at its step."""
        for name, value in numbers(row).items():
            self._open().add_scalar(name, value, row.round)

    def end(self, summary: Mapping[str, Any]) -> None:
        """Add the results."""
        for name in RESULTS:
            if summary[name] is not None:
                self._open().add_scalar(f"result/{name}", summary[name], 0)

    def close(self) -> None:
        """Write what is still to be written."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> SummaryWriter:
        if self._writer is None:
            raise RuntimeError("it got a round before it got a run")
        return self._writer


def make(place: str) -> TensorBoard:
    """Return the sink for a folder."""
    return TensorBoard(Path(place))
