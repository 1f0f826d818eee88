"""Whether a device puts its new model into use, or keeps the one that it has.

The new one is written beside it first. Both then classify the samples held out: where the new one
is worse beyond chance (McNemar's test, exact, 5 %), the old one stays. A run before has trained on
these samples as the new one has; where the data are the same, neither has an advantage by that.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.agent import predict
from edge.agent.deployment import Deployment
from edge.agent.predict import Exported
from edge.agent.store import MODEL, NEW, PREVIOUS, SUMMARY
from edgeloop.data import Samples
from edgeloop.errors import ModelError
from edgeloop.mixing import experts
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelGate:
    """A run's end at the gate.

    Attributes:
        folder: of the device.
        run: the new model's.
        pixels: whether the device's samples are pixels in a file's terms, and [-1, 1] in ours.
        held_out: samples that both models classify; None for no comparison.
    """

    folder: Path
    run: str
    pixels: bool
    held_out: Samples | None

    @property
    def new(self) -> Path:
        """Where the new model is written first."""
        return self.folder / NEW.format(run=self.run)

    def accept(self) -> dict[str, Any]:
        """Put the new model into use, or keep the old one; return what the summary says of it.

        Started again after a crash at any moment, it comes to the same.
        """
        old = self._previous_model()
        found = None if old is None else self._compared(old)
        in_use, deployment = self.folder / MODEL, Deployment(self.folder)
        with atomic_files.writing(self.folder):
            if found is None or found["keeps"] == "new":
                deployment.put(self.new, "the run's end")
            elif old is not None and old.path != in_use:
                shutil.copyfile(old.path, deployment.candidate)
                deployment.put(deployment.candidate, "the run's end: its own model is worse")
        if found is not None:
            self._log_decision(found)
        return {} if found is None else {"gate": found}

    def _previous_model(self) -> Exported | None:
        """Return the model of a run before that was in use last; None without one that fits."""
        if self.held_out is None or not len(self.held_out):
            return None
        places = sorted(
            (self.folder / PREVIOUS).glob(f"*/{MODEL}"),
            key=lambda path: path.parent.stat().st_mtime_ns,
            reverse=True,
        )
        looked_at = set()
        for path in (*places, self.folder / MODEL):
            if not path.exists() or (digest := atomic_files.digest(path)) in looked_at:
                continue
            looked_at.add(digest)
            if _whole(path, digest) and (found := self._fitting(path)) is not None:
                return found
        return None

    def _fitting(self, path: Path) -> Exported | None:
        """Return a model of another run that classifies what the new one does."""
        try:
            new, old = predict.open_model(self.new), predict.open_model(path)
        except ModelError as error:
            log.warning("the previous model is not compared: %s", error)
            return None
        if old.fact("run") == self.run:
            return None
        alike = (new.class_names, new.shape, new.pixels) == (old.class_names, old.shape, old.pixels)
        return old if alike else None

    def _compared(self, old: Exported) -> dict[str, Any] | None:
        assert self.held_out is not None  # noqa: S101 - or there would be no old one
        inputs, labels_N = self.held_out.inputs, self.held_out.labels
        read = np.asarray((inputs + 1) * 127.5 if self.pixels else inputs, np.float32)
        try:
            old_N = experts.hits(old.scores(read).astype(np.float64), labels_N)
        except ModelError as error:
            log.warning("the previous model is not compared: %s", error)
            return None
        new_N = experts.hits(predict.open_model(self.new).scores(read).astype(np.float64), labels_N)
        worse = experts.is_worse_hits(new_N, old_N)
        return {
            "keeps": "old" if worse else "new",
            "held_out": len(labels_N),
            "new": float(new_N.mean()),
            "old": float(old_N.mean()),
            "old_run": old.fact("run"),
            "p": experts.p_value(new_N, old_N),
        }

    def _log_decision(self, found: dict[str, Any]) -> None:
        text = "of %d samples held out the model of run %s has %.4f right, the new one %.4f: %s"
        facts = found["held_out"], found["old_run"], found["old"], found["new"]
        if found["keeps"] == "new":
            log.info(text, *facts, "the new one is in use")
        else:
            kept = f"the old one stays in use, the new one is {self.new.name}"
            log.warning(text, *facts, kept)


def _whole(path: Path, digest: str) -> bool:
    """Return whether a model is the one that was written, if that is known.

    Of one of a run before, the summary beside it tells; of the one in use, the deployment's record.
    """
    record = Deployment(path.parent).record()
    if record:
        return bool(record.get("in_use", {}).get("sha256") == digest)
    try:
        noted = atomic_files.read_json(path.with_name(SUMMARY)).get("onnx_sha256")
    except (OSError, ValueError, AttributeError):
        return True  # nobody knows
    if noted in (None, digest):
        return True
    log.warning("%s is damaged (its checksum differs): it is not compared", path)
    return False
