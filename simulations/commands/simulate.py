"""Runs an algorithm over many clients on this machine, and draws how well they learn."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop.cli import console
from edgeloop.runtime import config
from edgeloop.statistics.chance import wilson
from edgeloop.statistics.sentence import accuracy, span
from simulations.engine.beside import planned
from simulations.engine.run import simulate
from simulations.engine.stacking_benchmark import told
from simulations.ktl.command import ktl
from simulations.results.folder import BESIDE
from simulations.settings import RunSettings, parse_options, parse_privacy, parse_workers
from simulations.sinks import Sink, parse_sinks


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop simulate` with these arguments."""
    if arguments and arguments[0] == "ktl":
        return console.run(ktl, "simulate ktl", arguments[1:])
    return console.run(command, "simulate", arguments)


def command(
    algorithm: Annotated[
        str, typer.Argument(help="See: edgeloop algorithms. Or ktl: one client, three baselines.")
    ],
    data: Annotated[str, typer.Option(help="A folder or a parquet file, or fashion-sample.")],
    layout: Annotated[str, typer.Option(help="files, or signal to undo interleaving.")] = "files",
    partition: Annotated[
        str | None, typer.Option(help="iid, pathological, dirichlet, exdir, or natural.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Of dirichlet and exdir: small is skewed.")] = 0.1,
    classes_per_client: Annotated[int, typer.Option(help="Of pathological and exdir.")] = 2,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Of iid and pathological: equal shares of a class.")
    ] = False,
    clients: Annotated[
        int | None, typer.Option(help="20, or as many as the data comes with.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Divide only so many, drawn at random. [default: all]")
    ] = None,
    partition_seed: Annotated[int, typer.Option(help="Of the partition.")] = 1,
    image_size: Annotated[
        int | None, typer.Option(help="Resize image files to so many pixels a side.")
    ] = None,
    only_client: Annotated[
        int | None, typer.Option(help="Run this client of the partition alone. [default: all]")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Training samples a class and client. [default: all]")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="A group, or architectures a,b,c that clients take in turn.")
    ] = None,
    width: Annotated[int, typer.Option(help="K, the feature width all clients share.")] = 512,
    rounds: Annotated[
        int | None, typer.Option(help="Rounds of training. [default: 50; class-statistics: 1]")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many rounds without a new best one.")
    ] = None,
    join_ratio: Annotated[
        float, typer.Option(help="The share of the clients that trains in a round.")
    ] = 1.0,
    random_join_ratio: Annotated[
        bool, typer.Option("--random-join-ratio", help="Draw it each round, between that and 1.")
    ] = False,
    drop_rate: Annotated[
        float, typer.Option(help="The share of a round's uploads that is lost on the way.")
    ] = 0.0,
    slow_rate: Annotated[
        float, typer.Option(help="The share of the clients that is slow: see --deadline.")
    ] = 0.0,
    slow_factor: Annotated[
        float, typer.Option(help="How many times longer a slow client takes.")
    ] = 5.0,
    deadline: Annotated[
        float | None,
        typer.Option(help="Of a round, in the median client's time. [default: wait for all]"),
    ] = None,
    new_clients: Annotated[
        int, typer.Option(help="So many of the last clients join after the last round.")
    ] = 0,
    fine_tuning_epochs: Annotated[int, typer.Option(help="Of a new client.")] = 1,
    seed: Annotated[int, typer.Option(help="The run's only seed.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Samples a training batch.")] = 10,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Take a client's samples in a new order each epoch.")
    ] = False,
    variant: Annotated[
        str, typer.Option(help="released, paper or another: see `edgeloop algorithms NAME`.")
    ] = "released",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A hyperparameter: key=value. May be repeated."),
    ] = None,
    privacy: Annotated[
        list[str] | None,
        typer.Option(
            help="Train and send with noise: noise=1, clip, prototype_noise, prototype_clip, delta,"
            " epsilon (the budget). May be repeated."
        ),
    ] = None,
    generator: Annotated[
        str | None, typer.Option(help="Of fedktl: see `edgeloop generator list`. [default: digits]")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Of class-statistics: see `edgeloop base list`. [default: computed]"),
    ] = None,
    workers: Annotated[
        str, typer.Option(help="Processes: a number, or auto for one a core.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    memory_format: Annotated[
        str, typer.Option(help="channels-last or contiguous.")
    ] = "channels-last",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    idle: Annotated[
        str, typer.Option(help="Where models wait: on the device, or in the host's memory.")
    ] = "device",
    cohort: Annotated[
        str | None,
        typer.Option(help="plain, stacked, or auto to measure. [default: plain; auto on a GPU]"),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Keep what each round exchanged, for the report.")
    ] = False,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Then run local on the same data, and say whether taking part paid; or another"
            " algorithm, or several: a,b."
        ),
    ] = None,
    mix: Annotated[
        str,
        typer.Option(
            help="At the end, mix each client's network with one trained alone: never, half, or"
            " auto, by a weight that it chooses."
        ),
    ] = "never",
    sink: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard:FOLDER or mlflow:URI. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. [default: runs/ALGORITHM-DATA-SEED]")
    ] = None,
) -> None:
    """Simulate federated learning; run the same command again to go on after a stop."""
    table = {name: value for name, value in locals().items() if name not in ("set_", "out", "sink")}
    table["options"] = parse_options(set_ or [])
    table["workers"] = parse_workers(workers)
    table["privacy"] = parse_privacy(privacy or [])
    table["beside"] = beside or []
    chosen = config.parse(table, RunSettings, "simulate")
    folder = out or chosen.folder()
    _show(_watched(chosen, folder, parse_sinks(sink or [])), folder)


def _watched(chosen: RunSettings, folder: Path, sinks: Sequence[Sink]) -> Mapping[str, Any]:
    names = (chosen.algorithm, *chosen.beside)
    ends = list(accumulate(planned(chosen)))
    with console.progress(", then ".join(names), ends[-1]) as report:

        def watch(done: int, accuracy: float) -> None:
            name = names[min(bisect_left(ends, max(done, 1)), len(names) - 1)]
            report(done, f"{f'{name}: ' if chosen.beside else ''}accuracy {accuracy:.4f}")

        return simulate(chosen, folder, watch, sinks)


def _spent(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    asked = summary["config"].get("privacy")
    if asked is None:
        return []
    return [("epsilon", f"{summary['epsilon_by_round'][-1]:.3f} at delta {asked['delta']:g}")]


def _show(summary: Mapping[str, Any], folder: Path) -> None:
    rows = [
        *_spent(summary),
        ("best accuracy", f"{summary['best_accuracy']:.4f} ({_best(summary)})"),
        ("last accuracy", accuracy(summary["final_accuracy"], _test_samples(summary))),
        ("seconds a round", f"{summary['seconds_per_round']:.2f}"),
        ("bytes up, a client and round", f"{summary['bytes_up_per_client']:,.0f}"),
        ("bytes down, a client and round", f"{summary['bytes_down_per_client']:,.0f}"),
    ]
    for architecture, choice in summary["cohort"].items():
        rows.append((f"{architecture}, {choice['clients']} clients", told(choice)))
    console.table(f"{summary['config']['algorithm']}", ("measure", "value"), rows)
    console.say(f"results: {folder}")
    if "mix" in summary:
        console.say(_mixed(summary["mix"]))
    for each in summary.get(BESIDE, {}).values():
        console.say(each["sentence"])


def _mixed(mix: Mapping[str, Any]) -> str:
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
