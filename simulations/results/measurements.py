"""What a simulation measures: a row a round, a summary, a picture.

Shape suffix: R rounds.
"""

# Over 320 lines: what is measured, and how it is written, is one table.

import io
import json
import math
import resource
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgeloop.client import Report
from edgeloop.data import Federation
from edgeloop.knowledge.prototypes import GlobalPrototypes
from edgeloop.protocol import wire
from edgeloop.runtime import checked_tensors

COLUMNS = (
    *("round", "accuracy", "accuracy_std"),
    *("seconds", "seconds_training", "seconds_evaluating", "seconds_aggregating"),
    *("bytes_up", "bytes_down", "auc", "epsilon"),
)
"""Of rounds.csv."""


@dataclass(frozen=True)
class Row:
    """One round; its evaluation came before its training.

    Attributes:
        round: its number; the row of round T is the last evaluation, without training.
        accuracy: of all clients, weighted by test samples; None where no client has one.
        accuracy_std: the population standard deviation of the accuracies of those that have some.
        seconds: wall time from the end of the round before, all bookkeeping included.
        seconds_training: the clients', summed over clients and divided by workers.
        seconds_evaluating: likewise.
        seconds_aggregating: the server's.
        bytes_up: of all clients' uploads, as frames on the wire.
        bytes_down: of the broadcast's frame, once for each client.
        floats_up: prototype entries in all uploads.
        floats_down: prototype entries in the broadcast, once for each client.
        auc: mean of the clients' AUCs, weighted by test samples; None where no client has one.
        epsilon: what the client that spent most has spent after the round; None without privacy.
        measures: the algorithm's own numbers of what the round led to, where it judges them.
        metrics: what was asked for beside, the mean of the clients, weighted by test samples.
        train_loss: mean of what the clients descended, weighted by training samples; None where
            none tells.
    """

    round: int
    accuracy: float | None
    accuracy_std: float | None
    seconds: float
    seconds_training: float
    seconds_evaluating: float
    seconds_aggregating: float
    bytes_up: int
    bytes_down: int
    floats_up: int
    floats_down: int
    auc: float | None = None
    epsilon: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    train_loss: float | None = None

    def line(self) -> str:
        """Return the row as a line of rounds.csv; what has no value is empty."""
        values = (getattr(self, column) for column in COLUMNS)
        return ",".join("" if value is None else str(value) for value in values) + "\n"


def accuracy(reports: Sequence[Report]) -> float | None:
    """Return the share of test samples classified right; None where there are none."""
    samples = sum(report.test_samples for report in reports)
    return sum(report.test_correct for report in reports) / samples if samples else None


def in_words(value: float | None, form: str = "{:.4f}") -> str:
    """Return an accuracy as a person reads it: a dash where nobody was tested."""
    return "-" if value is None else form.format(value)


def mean_auc(reports: Sequence[Report]) -> float | None:
    """Return the mean AUC of the clients that have one, weighted by test samples, or None."""
    known = [report for report in reports if not math.isnan(report.test_auc)]
    samples = sum(report.test_samples for report in known)
    if not samples:
        return None
    return math.fsum(report.test_auc * report.test_samples for report in known) / samples


def has_stalled(rows: Sequence[Row], patience: int | None) -> bool:
    """Return whether more than `patience` rounds in a row have brought no new best accuracy."""
    accuracies_R = [row.accuracy for row in rows if row.accuracy is not None]
    if patience is None or not accuracies_R:
        return False
    return len(accuracies_R) - accuracies_R.index(max(accuracies_R)) > patience


def accuracy_std(reports: Sequence[Report]) -> float | None:
    """Return the population standard deviation of the accuracies of clients with test samples."""
    known = [value for value in (accuracy([each]) for each in reports) if value is not None]
    return statistics.pstdev(known) if known else None


def floats(message: Any) -> int:
    """Count a message's numbers as the papers do: prototype entries, no labels, no counts."""
    if isinstance(message, GlobalPrototypes):
        return int(message.known_C.sum()) * int(message.prototypes_CD.shape[1])
    return sum(array.size for array in wire.arrays(message).values() if array.dtype.kind == "f")


def partition_file(federation: Federation, names: Iterable[str]) -> bytes:
    """Return partition.json: what the data is, and each client's samples by class."""
    counts = [federation.label_counts(part).tolist() for part in ("train", "test")]
    pairs = zip(names, *counts, strict=True)
    content = {
        "class_names": list(federation.class_names),
        "shape": list(federation.shape),
        "clients": {name: {"train": train, "test": test} for name, train, test in pairs},
    }
    return json.dumps(content).encode()


def prototypes_file(broadcast: Any) -> bytes:
    """Return a broadcast's arrays as safetensors, by the names of its fields."""
    return checked_tensors.content(wire.arrays(broadcast), {})


def summary(
    config: Mapping[str, Any],
    rows: Sequence[Row],
    reports: Mapping[str, Report],
    broadcast: Any,
) -> dict[str, Any]:
    """Return the content of summary.json; docs/simulation.md defines every key.

    Args:
        config: of the run.
        rows: of rounds 0 ... T.
        reports: the last evaluation by client.
        broadcast: the last one.
    """
    accuracies_R = [row.accuracy for row in rows]
    best = max((value for value in accuracies_R if value is not None), default=None)
    return {
        "config": dict(config),
        "accuracy_by_round": accuracies_R,
        "best_accuracy": best,
        "best_round": accuracies_R.index(best) if best is not None else None,
        "final_accuracy": accuracies_R[-1],
        "accuracy_std_by_round": [row.accuracy_std for row in rows],
        "auc_by_round": [row.auc for row in rows],
        **_spent(config, rows),
        "train_loss_by_round": [row.train_loss for row in rows[:-1]],
        **_measured(rows),
        **_metrics(rows),
        "accuracy_by_client": {name: accuracy([report]) for name, report in reports.items()},
        "samples_by_client": {
            name: {"train": report.train_samples, "test": report.test_samples}
            for name, report in reports.items()
        },
        "model_by_client": config["models_by_client"],
        **_traffic(rows[:-1], len(reports)),
        **_seconds(rows),
        "peak_memory_bytes": peak_memory(),
        "knowledge_sha256": wire.fingerprint(broadcast),
    }


def measures_file(rows: Sequence[Row]) -> str:
    """Return each round's training loss and the algorithm's own numbers as CSV.

    What has no value is empty, and so is all of it where no round has any.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.measures))
    lines = [["round", "train_loss", *names]]
    for row in rows:
        cells = [row.train_loss, *(row.measures.get(name) for name in names)]
        if any(cell is not None for cell in cells):
            lines.append([str(row.round), *("" if cell is None else str(cell) for cell in cells)])
    return "".join(",".join(line) + "\n" for line in lines) if lines[1:] else ""


def _spent(config: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    if config.get("privacy") is None:
        return {}
    return {"epsilon_by_round": [row.epsilon for row in rows]}


def _measured(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the algorithm's own numbers of each round of training, None where it had none."""
    names = dict.fromkeys(name for row in rows for name in row.measures)
    if not names:
        return {}
    return {
        "measures_by_round": {name: [row.measures.get(name) for row in rows[:-1]] for name in names}
    }


def _metrics(rows: Sequence[Row]) -> dict[str, Any]:
    """Return each further metric by round, None where nobody was tested."""
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    if not names:
        return {}
    return {"metrics_by_round": {name: [row.metrics.get(name) for row in rows] for name in names}}


def mean_metrics(reports: Mapping[str, Report], measured: Mapping[str, Any]) -> dict[str, float]:
    """Return the clients' metrics' means, weighted by test samples.

    Args:
        reports: of an evaluation, by client.
        measured: each client's metrics of it, by its name; empty of one without test samples.
    """
    found = {}
    for name in dict.fromkeys(name for each in measured.values() for name in each):
        pairs = [
            (each[name], reports[client].test_samples)
            for client, each in measured.items()
            if name in each
        ]
        total = sum(samples for _, samples in pairs)
        found[name] = math.fsum(value * samples for value, samples in pairs) / total
    return found


def _traffic(rows: Sequence[Row], clients: int) -> dict[str, float]:
    """Return means over rounds of training and clients."""
    columns = ("bytes_up", "bytes_down", "floats_up", "floats_down")
    return {
        f"{column}_per_client": sum(getattr(row, column) for row in rows) / len(rows) / clients
        for column in columns
    }


def _seconds(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the mean round without round 0, where there is another; and the run's sums."""
    rounds = rows[1:-1] or rows[:1]
    parts = ("training", "evaluating", "aggregating")
    sums = {part: math.fsum(getattr(row, f"seconds_{part}") for row in rows) for part in parts}
    return {
        "seconds_per_round": statistics.fmean(row.seconds for row in rounds),
        "seconds": {**sums, "wall": math.fsum(row.seconds for row in rows)},
    }


def processor_seconds() -> float:
    """Return the seconds that cores have worked for this process and its ended children."""
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(user) for user in users]
    return math.fsum(each.ru_utime + each.ru_stime for each in used)


def peak_memory() -> int:
    """Return the largest resident set of this process plus that of its largest child, in bytes."""
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(user).ru_maxrss for user in users) * 1024


def picture(title: str, rows: Sequence[Row]) -> bytes:
    """Draw the accuracy over rounds, with the clients' standard deviation around it, as PNG."""
    content = io.BytesIO()
    drawn = draw(title, *([getattr(row, name) for row in rows] for name in COLUMNS[:3]))
    drawn.savefig(content, format="png")
    return content.getvalue()


def draw(
    title: str,
    rounds_R: Sequence[int],
    means: Sequence[float | None],
    stds: Sequence[float | None],
) -> Figure:
    """Draw the accuracy over rounds, with the clients' standard deviation around it.

    Args:
        title: of the figure.
        rounds_R: their numbers.
        means: the accuracy of each; None is not drawn.
        stds: the clients' standard deviation of each.
    """
    mean_R, std_R = (np.array(each, np.float64) for each in (means, stds))  # None is NaN
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    low_R, high_R = (mean_R - std_R).clip(0, 1), (mean_R + std_R).clip(0, 1)
    axes.fill_between(rounds_R, low_R, high_R, color="0.8", label="± std across clients")
    axes.plot(rounds_R, mean_R, color="0.1", marker=".", label="all clients")
    axes.set(title=title, xlabel="round", ylabel="test accuracy", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.9")
    axes.legend(loc="lower right")
    return figure
