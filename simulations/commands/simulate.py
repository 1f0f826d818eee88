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
from edgeloop.statistics.verdict import accuracy, span
from simulations.engine.companion import planned_rounds
from simulations.engine.run import simulate
from simulations.engine.stacking_benchmark import describe_choice
from simulations.ktl.command import ktl
from simulations.results.folder import BESIDE
from simulations.settings import RunSettings, parse_options, parse_privacy, parse_workers
from simulations.sinks import Sink, parse_sinks


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop simulate` with these arguments."""
    if arguments and arguments[0] == "ktl":
        return console.run(ktl, "simulate ktl", arguments[1:])
    return console.run(simulate_command, "simulate", arguments)


def simulate_command(  # noqa: PLR0913 - an option each
    algorithm: Annotated[
        str,
        typer.Argument(
            help="Algorithm, see edgeloop algorithms; or ktl: one client, three baselines."
        ),
    ],
    data: Annotated[
        str, typer.Option(help="Data set: a folder, a parquet file, or fashion-sample.")
    ],
    layout: Annotated[
        str, typer.Option(help="Layout: files, or signal to undo interleaving.")
    ] = "files",
    partition: Annotated[
        str | None, typer.Option(help="Partition: iid, pathological, dirichlet, exdir, or natural.")
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Concentration of dirichlet and exdir: smaller is more skewed.")
    ] = 0.1,
    classes_per_client: Annotated[
        int, typer.Option(help="Classes of each client, for pathological and exdir.")
    ] = 2,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Equal shares of a class, for iid and pathological.")
    ] = False,
    clients: Annotated[
        int | None, typer.Option(help="Number of clients. [default: 20, or the data's own]")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(help="Number of samples to divide, drawn at random. [default: all]"),
    ] = None,
    partition_seed: Annotated[int, typer.Option(help="Seed of the data partition.")] = 1,
    image_size: Annotated[
        int | None, typer.Option(help="Side length, in pixels, to resize image files to.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of the labels in a table. [default: by its name]")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of the images or of their files, likewise.")
    ] = None,
    client_column: Annotated[
        str | None, typer.Option(help="Column of the natural clients, likewise.")
    ] = None,
    only_client: Annotated[
        int | None, typer.Option(help="Number of the only client to run. [default: all clients]")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Training samples per class and client. [default: all]")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Model group, or architectures a,b,c assigned to clients in turn."),
    ] = None,
    width: Annotated[int, typer.Option(help="Feature width K that all clients share.")] = 512,
    rounds: Annotated[
        int | None, typer.Option(help="Number of rounds. [default: 50; class-statistics: 1]")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Early stopping: rounds without a new best accuracy.")
    ] = None,
    join_ratio: Annotated[
        float, typer.Option(help="Fraction of the clients that train in a round.")
    ] = 1.0,
    random_join_ratio: Annotated[
        bool,
        typer.Option(
            "--random-join-ratio",
            help="Draw the fraction again each round, between --join-ratio and 1.",
        ),
    ] = False,
    drop_rate: Annotated[
        float, typer.Option(help="Fraction of a round's uploads that are lost.")
    ] = 0.0,
    slow_rate: Annotated[
        float, typer.Option(help="Fraction of slow clients; see --deadline.")
    ] = 0.0,
    slow_factor: Annotated[float, typer.Option(help="Slowdown of a slow client.")] = 5.0,
    deadline: Annotated[
        float | None,
        typer.Option(help="Deadline of a round, in median client times. [default: wait for all]"),
    ] = None,
    new_clients: Annotated[
        int, typer.Option(help="Number of clients, the last ones, that join after training.")
    ] = 0,
    fine_tuning_epochs: Annotated[
        int, typer.Option(help="Fine-tuning epochs of a client that joins after training.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Random seed of the run.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Training batch size.")] = 10,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Shuffle a client's samples each epoch.")
    ] = False,
    variant: Annotated[
        str,
        typer.Option(help="Variant: released, paper or another; see `edgeloop algorithms NAME`."),
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
        str | None,
        typer.Option(help="Generator for fedktl; see `edgeloop generator list`. [default: digits]"),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Base for class-statistics; see `edgeloop base list`. [default: computed]"
        ),
    ] = None,
    workers: Annotated[
        str, typer.Option(help="Number of worker processes, or auto for one per core.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="Device: cpu or cuda.")] = "cpu",
    memory_format: Annotated[
        str, typer.Option(help="Memory format: channels-last or contiguous.")
    ] = "channels-last",
    precision: Annotated[str, typer.Option(help="Precision: float32 or bfloat16.")] = "float32",
    idle: Annotated[
        str, typer.Option(help="Where idle models are kept: device, or host memory.")
    ] = "device",
    cohort: Annotated[
        str | None,
        typer.Option(
            help="Cohort: plain, stacked, or auto to measure. [default: plain; auto on a GPU]"
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Keep the messages of each round for the report.")
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
        typer.Option(help="Metrics sink, tensorboard:FOLDER or mlflow:URI. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder of the run. [default: runs/ALGORITHM-DATA-SEED]"),
    ] = None,
) -> None:
    """Simulate federated learning; run the same command again to continue after a stop."""
    table = {name: value for name, value in locals().items() if name not in ("set_", "out", "sink")}
    table["options"] = parse_options(set_ or [])
    table["workers"] = parse_workers(workers)
    table["privacy"] = parse_privacy(privacy or [])
    table["beside"] = beside or []
    chosen = config.parse(table, RunSettings, "simulate")
    folder = out or chosen.folder()
    _show(_with_progress(chosen, folder, parse_sinks(sink or [])), folder)


def _with_progress(chosen: RunSettings, folder: Path, sinks: Sequence[Sink]) -> Mapping[str, Any]:
    names = (chosen.algorithm, *chosen.beside)
    ends = list(accumulate(planned_rounds(chosen)))
    with console.progress(", then ".join(names), ends[-1]) as report:

        def watch(done: int, accuracy: float) -> None:
            name = names[min(bisect_left(ends, max(done, 1)), len(names) - 1)]
            report(done, f"{f'{name}: ' if chosen.beside else ''}accuracy {accuracy:.4f}")

        return simulate(chosen, folder, watch, sinks)


def _show_privacy(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    asked = summary["config"].get("privacy")
    if asked is None:
        return []
    return [("epsilon", f"{summary['epsilon_by_round'][-1]:.3f} at delta {asked['delta']:g}")]


def _show(summary: Mapping[str, Any], folder: Path) -> None:
    rows = [
        *_show_privacy(summary),
        ("best accuracy", f"{summary['best_accuracy']:.4f} ({_best(summary)})"),
        ("last accuracy", accuracy(summary["final_accuracy"], _test_samples(summary))),
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
