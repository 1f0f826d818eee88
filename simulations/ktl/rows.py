"""The rows of the study: what each does with a client's few samples, by name.

A row is a function of a seed's settings and of the folder for its results; it returns, and leaves
there as summary.json, at least `best_accuracy` and `final_accuracy`. One more is a line in `ROWS`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeloop import data, generators
from edgeloop.bases import building
from edgeloop.bases.running import Base
from edgeloop.data import ClientData
from edgeloop.data.samples import Labels
from edgeloop.gaussian import classifier, statistics
from edgeloop.runtime import atomic_files
from simulations.engine.run import simulate
from simulations.results.folder import SUMMARY
from simulations.settings import RunSettings

Summary = Mapping[str, Any]
Row = Callable[[RunSettings, Path], Summary]
Classify = Callable[[ClientData, int], Labels]
"""A client's samples and the number of classes, to a class (N,) for each of its test samples."""


def run_simulation(
    settings: RunSettings, folder: Path, *, algorithm: str, **options: Any
) -> Summary:
    """Run an algorithm with the client alone; the study's own options are FedKTL's."""
    own = settings.options if algorithm == settings.algorithm else {}
    changes = {"algorithm": algorithm, "options": {**own, **options}}
    chosen = settings.model_copy(update=changes).without_unasked()
    return simulate(chosen, folder, lambda done, accuracy: None)


def run_classifier(settings: RunSettings, folder: Path, *, how: Classify) -> Summary:
    """Have a classifier without rounds name the test samples; write how many it names right."""
    federation = data.load(settings.data)
    client = federation.client(0)
    right = how(client, federation.classes) == client.test.labels
    accuracy = float(np.mean(right)) if len(right) else 0.0
    summary = {"best_accuracy": accuracy, "final_accuracy": accuracy}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_files.write_json(folder / SUMMARY, summary)
    return summary


def run_on_base(settings: RunSettings, folder: Path) -> Summary:
    """Have class means on a base name the test samples; it is computed from the generator's images.

    The class whose mean is nearest by cosine, on whitened features; nothing is trained.
    """
    generator = generators.load(settings.generator or generators.EMBEDDED)

    def how(client: ClientData, classes: int) -> Labels:
        shape = client.train.inputs.shape[1:]
        return nearest_mean(client, classes, building.load_or_compute(generator, shape, classes))

    return run_classifier(settings, folder, how=how)


def nearest_mean(client: ClientData, classes: int, base: Base) -> Labels:
    """Return the class (N,) of each test sample whose mean is nearest by cosine."""
    train, test = (
        classifier.whiten(base.features(part.inputs), base.variances_D)
        for part in (client.train, client.test)
    )
    known = statistics.class_sums(train, client.train.labels, classes, second=False)
    found = classifier.cosine(known, known.counts_C, base.variances_D).log_posteriors(test)
    labels: Labels = found.argmax(1).astype(np.int64)
    return labels


ROWS: Mapping[str, Row] = {
    "local": partial(run_simulation, algorithm="local"),
    "etf-only": partial(run_simulation, algorithm="fedktl", transfer=0.0),
    "ktl": partial(run_simulation, algorithm="fedktl"),
    "computed-base": run_on_base,
}
"""Plain cross-entropy; FedKTL's client without the transfer loss; with it; and class means on a
computed base.

A row of another kind is `"name": partial(classified, how=function)`.
"""

PAPER: Mapping[int, Mapping[str, tuple[float, float]]] = {
    23: {"local": (12.53, 0.39), "ktl": (13.02, 0.43)},
    9: {"local": (7.55, 0.41), "ktl": (8.88, 0.62)},
    2: {"local": (4.44, 1.66), "ktl": (8.76, 2.25)},
}
"""Table 9 of FedKTL's slides: per cent, mean and population std of three trials, StyleGAN-XL."""
