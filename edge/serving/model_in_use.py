"""The classifier that answers: taken again whenever its file is another one, between two requests.

A new one is opened and run once before it takes the place of the old one. A request that has begun
ends with the one that it began with; a file that cannot be used changes nothing.
"""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from edge.agent import predict
from edge.agent.predict import Exported
from edge.serving import batching
from edgeloop.errors import ModelError
from edgeloop.runtime import atomic_files

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks at the file."""


@dataclass(frozen=True)
class Serving:
    """A classifier that answers.

    Attributes:
        model: the classifier.
        sha256: of its file.
        is_batched: whether requests that wait are run as one batch.
    """

    model: Exported
    sha256: str
    is_batched: bool = False

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """Which one it is; read once, since onnxruntime copies all metadata each time."""
        told = {name: self.model.fact(name) for name in ("task", "run", "round")}
        return {"sha256": self.sha256, **told}

    @cached_property
    def text(self) -> str:
        """The facts as JSON."""
        return json.dumps(self.facts)

    @cached_property
    def begins(self) -> Sequence[str]:
        """For each class, the JSON of an answer up to its probability."""
        names = self.model.class_names
        return [
            f'{{"label": {json.dumps(name)}, "class": {number}, "probability": '
            for number, name in enumerate(names)
        ]


class ModelInUse:
    """Has the classifier of a file, as it is now.

    Args:
        path: of the file; it may not be there yet.

    Attributes:
        swaps: how often another one has taken the place of one.
        refused: how many files could not be used.
        problem: why the file, as it is now, is not what answers; empty if it is.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.swaps, self.refused = path, 0, 0
        self.problem = f"{path}: there is no such file yet"
        self._serving: Serving | None = None
        self._seen: tuple[int, int, int] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def __enter__(self) -> Self:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def now(self) -> Serving | None:
        """Return what answers; None while there is nothing."""
        return self._serving

    def look(self) -> None:
        """Take the file, if it is another one than at the last look."""
        try:
            about = self.path.stat()
        except OSError as error:
            self._seen = None
            self.problem = f"{self.path}: cannot be read ({error.strerror})"
            return
        seen = about.st_ino, about.st_size, about.st_mtime_ns
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._take()
        except (ModelError, OSError) as error:
            self.refused += 1
            self.problem = str(error)
            log.warning("%s; what answered before answers", error)

    def _take(self) -> None:
        before, digest = self._serving, atomic_files.digest(self.path)
        if before is not None and before.sha256 == digest:
            self.problem = ""
            return
        model = predict.open_model(self.path)
        model.scores(model.blank())
        serving = Serving(model, digest, is_batched=batching.is_worth_it(model))
        self._serving, self.problem = serving, ""
        self.swaps += before is not None
        number, run = model.fact("round"), model.fact("run")
        log.info("answers with %s of round %s of run %s", digest[:12], number, run)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.look()
