"""Runs an algorithm over many clients on this machine, and draws how well they learn."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop.cli import console, options
from edgeloop.statistics.chance import wilson
from edgeloop.statistics.verdict import accuracy, span
from simulations.api import execute
from simulations.commands.seeds import parse_seeds, run_seeds
from simulations.commands.seeds import show as show_seeds
from simulations.engine.stacking_benchmark import describe_choice
from simulations.ktl.command import ktl
from simulations.results.folder import BESIDE
from simulations.settings import RunSettings
from simulations.sinks import parse_sinks


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop simulate` with these arguments."""
    if arguments and arguments[0] == "ktl":
        return console.run(ktl, "simulate ktl", arguments[1:])
    return console.run(simulate_command, "simulate", arguments)


@options.of(RunSettings, "simulate")
def simulate_command(
    settings: RunSettings,
    sink: Annotated[
        list[str] | None,
        typer.Option(help="Metrics sink, tensorboard:FOLDER or mlflow:URI. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder of the run. [default: runs/ALGORITHM-DATA-SEED]"),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Run with several seeds, and show mean and spread: how many from --seed on, as 3;"
            " or which: 0,1,2. Each run has a folder in --out."
        ),
    ] = None,
) -> None:
    """Simulate federated learning; run the same command again to continue after a stop.

    With more --rounds it extends a finished run.
    """
    if seeds is not None:
        _with_seeds(settings, parse_seeds(seeds, settings.seed), sink or [], out)
        return
    folder = out or settings.folder()
    _show(execute(settings, folder, parse_sinks(sink or [])).summary, folder)


def _with_seeds(
    settings: RunSettings, seeds: Sequence[int], sinks: Sequence[str], out: Path | None
) -> None:
    folder = out or settings.folder().with_name(f"{settings.folder().name}-seeds")

    def run(one: RunSettings, place: Path) -> Mapping[str, Any]:
        return execute(one, place, parse_sinks(sinks), again=True).summary

    show_seeds(settings.algorithm, run_seeds(settings, seeds, folder, run), folder)


def _show_privacy(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    asked = summary["config"].get("privacy")
    if asked is None:
        return []
    return [("epsilon", f"{summary['epsilon_by_round'][-1]:.3f} at delta {asked['delta']:g}")]


def _show_accuracy(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    samples = _test_samples(summary)
    if not samples:
        return [("accuracy", "- (no test samples)")]
    return [
        ("best accuracy", f"{summary['best_accuracy']:.4f} ({_best(summary)})"),
        ("last accuracy", accuracy(summary["final_accuracy"], samples)),
    ]


def _show(summary: Mapping[str, Any], folder: Path) -> None:
    rows = [
        *_show_privacy(summary),
        *_show_accuracy(summary),
        ("seconds a round", f"{summary['seconds_per_round']:.2f}"),
        ("bytes up, a client and round", f"{summary['bytes_up_per_client']:,.0f}"),
        ("bytes down, a client and round", f"{summary['bytes_down_per_client']:,.0f}"),
    ]
    for architecture, choice in summary["cohort"].items():
        rows.append((f"{architecture}, {choice['clients']} clients", describe_choice(choice)))
    console.table(f"{summary['config']['algorithm']}", ("measure", "value"), rows)
    console.say(f"results: {folder}")
    if "mix" in summary:
        console.say(_show_mixing(summary["mix"]))
    for each in summary.get(BESIDE, {}).values():
        console.say(each["sentence"])


def _show_mixing(mix: Mapping[str, Any]) -> str:
    """Say what mixing was worth."""
    mean = mix["mean"]
    if mean["mixed"] is None:
        return "mixed; no client has test samples"
    alone = "nobody alone" if mean["alone"] is None else f"{mean['alone']:.4f} alone"
    return (
        f"mixed: accuracy {mean['mixed']:.4f}, a client's mean; {alone}, {mean['together']:.4f}"
        f" together; weight {mean['weight']:.2f}; {mix['clients_better']} clients better than"
        f" alone, {mix['clients_worse']} worse"
    )


def _best(summary: Mapping[str, Any]) -> str:
    of_run = len(summary["accuracy_by_round"])
    interval = span(wilson(summary["best_accuracy"] * (count := _test_samples(summary)), count))
    sure = f", 95 % {interval}" if interval else ""
    return f"round {summary['best_round']}{sure}; optimistic, the best of {of_run}"


def _test_samples(summary: Mapping[str, Any]) -> int:
    return sum(each["test"] for each in summary["samples_by_client"].values())
