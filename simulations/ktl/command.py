"""Compares one client alone with the same client and the cloud's generator, few samples a class."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop.cli import console, options
from edgeloop.runtime import atomic_files
from simulations.ktl.picture import picture
from simulations.ktl.rows import PAPER
from simulations.ktl.study import CLIENTS, Study, run
from simulations.results.measurements import in_words

CLASSES = 100
"""Of the paper's data, CIFAR-100: its numbers are shown beside no other's."""


@options.of(Study, "simulate ktl", ranges=True)
def ktl(study: Study) -> None:
    """Run a single client alone, with the ETF classifier only, and with knowledge transfer."""
    study.check()
    with console.progress("runs", (study.seeds or CLIENTS) * len(study.baselines)) as report:
        finished: list[str] = []

        def done(title: str, summary: Mapping[str, Any]) -> None:
            finished.append(title)
            report(len(finished), f"{title}: best {in_words(summary['best_accuracy'])}")

        summary = run(study, done)
    paper = PAPER.get(study.shots, {}) if summary["classes"] == CLASSES else {}
    atomic_files.write(study.folder / "accuracy.png", picture(summary, paper))
    _show(summary, paper, study.folder)


def _show(
    summary: Mapping[str, Any], paper: Mapping[str, tuple[float, float]], folder: Path
) -> None:
    samples = summary["samples"]
    title = f"{summary['shots']}-shot: {samples['train']} training, {samples['test']} test samples"
    title += f", {summary['seeds']} seeds"
    rows = [
        [name, _words(found), _words(summary["last_round"][name]), _published(paper.get(name))]
        for name, found in summary["baselines"].items()
    ]
    rows += [[name, _words(found), "", ""] for name, found in summary["differences"].items()]
    columns = ("baseline", "best round, % ± 95 %", "last round, % ± 95 %", "paper, % ± std")
    console.table(title, columns, rows)
    for note in summary["notes"]:
        console.say(note)
    console.say(f"results: {folder}")


def _words(found: Mapping[str, Any]) -> str:
    mean = f"{100 * found['mean']:.2f}"
    return mean if found["ci95"] is None else f"{mean} ± {100 * found['ci95']:.2f}"


def _published(numbers: tuple[float, float] | None) -> str:
    return "" if numbers is None else f"{numbers[0]:.2f} ± {numbers[1]:.2f}"
