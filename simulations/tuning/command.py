"""Tries hyperparameters on samples held out of the clients' training data, never on test data."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer

from edgeloop import algorithms
from edgeloop.cli import console
from edgeloop.errors import ConfigError
from edgeloop.runtime import config
from simulations.settings import RunSettings, parse_options, parse_workers
from simulations.tuning import space as spaces
from simulations.tuning.study import LOCAL, Method, Tuning, run, total


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop tune` with these arguments."""
    return console.run(command, "tune", arguments)


def command(
    algorithm: Annotated[str, typer.Argument(help="See: edgeloop algorithms.")],
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
        int | None, typer.Option(help="This client of the partition alone. [default: all]")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Training samples a class and client. [default: all]")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="A group, or architectures a,b,c that clients take in turn.")
    ] = None,
    width: Annotated[int, typer.Option(help="K, the feature width all clients share.")] = 512,
    rounds: Annotated[int, typer.Option(help="Of the longest runs.")] = 30,
    join_ratio: Annotated[
        float, typer.Option(help="The share of the clients that trains in a round.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The first run's; the next one's is one more.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each candidate.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Samples a training batch.")] = 10,
    variant: Annotated[
        str, typer.Option(help="released or paper, where they differ.")
    ] = "released",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A hyperparameter of all candidates: key=value."),
    ] = None,
    try_: Annotated[
        list[str] | None,
        typer.Option("--try", help="What to try: key=value,value. [default: of fedktl, its own]"),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="halving, or grid: every candidate for all rounds.")
    ] = "halving",
    held_out: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="The share of training samples to judge by.")
    ] = 0.25,
    generator: Annotated[
        str | None, typer.Option(help="Of fedktl: see `edgeloop generator list`. [default: digits]")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[str, typer.Option(help="Runs at a time; auto for one a core.")] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The study's folder. [default: runs/tune-ALGORITHM-DATA]")
    ] = None,
) -> None:
    """Tune an algorithm's hyperparameters; run the same command again to go on after a stop."""
    table = {name: value for name, value in locals().items() if name in RunSettings.model_fields}
    wanted = parse_workers(workers)
    table |= {"options": parse_options(set_ or []), "workers": wanted}
    chosen = config.parse(table, RunSettings, "tune")
    chosen.check()
    folder = out or Path("runs") / f"tune-{algorithm}-{Path(data).resolve().stem}"
    space = spaces.parse(algorithm, try_ or [])
    _check(space, chosen)
    tuning = Tuning(chosen, space, method, seeds, held_out, folder)
    with console.progress(f"tune {algorithm}", total(tuning)) as report:
        finished: list[str] = []

        def done(title: str, summary: Mapping[str, Any]) -> None:
            finished.append(title)
            report(len(finished), f"{title}: {summary['final_accuracy']:.4f}")

        found = run(tuning, None if wanted == "auto" else wanted, done)
    _show(tuning, found)


def _check(space: spaces.Space, chosen: RunSettings) -> None:
    """Refuse a hyperparameter that is both tried and set.

    Raises:
        ConfigError: naming it.
    """
    for name in space:
        if name in chosen.options:
            raise ConfigError("set", f"{name} is tried too", f"leave out --set {name} or --try")


def _show(tuning: Tuning, found: Mapping[str, Any]) -> None:
    names = list(tuning.space)
    every = [*found["candidates"], *found["beside"]]
    measures = [name for name in SHOWN if any(name in each["measures"] for each in every)]
    rows = [
        [*(each["options"].get(name, "") for name in names), *_cells(each, measures)]
        for each in found["candidates"]
    ]
    rows += [
        [each["name"], *("" for _ in names[1:]), *_cells(each, measures)]
        for each in found["beside"]
    ]
    columns = (*names, "rounds", "accuracy", *(SHOWN[name] for name in measures), "warnings")
    title = f"{tuning.settings.algorithm}: {found['held_out_samples']} held-out training samples"
    console.table(title, columns, rows)
    console.say(
        f"accuracies closer than {found['noise']:.3f} are alike as far as so few samples can tell"
    )
    for sentence in judged(found):
        console.say(sentence)
    console.say(f"use: {line(tuning.settings, found['chosen'])}")
    console.say(f"or, in a task's file: {in_a_file(tuning.settings, found['chosen'])}")
    console.say(f"results: {tuning.folder}")


SHOWN: Mapping[str, str] = {
    "discrepancy": "discrepancy",
    "discrepancy_floor": "its floor",
    "distance": "distance",
    "image_sharpness": "sharpness",
    "image_difference": "difference",
}
"""Of an algorithm's measures, those that are in the table, and their headings."""


def _cells(tried: Mapping[str, Any], measures: Sequence[str]) -> list[str]:
    numbers = [f"{tried['measures'][name]:.2f}" if tried["measures"] else "" for name in measures]
    return [str(tried["rounds"]), f"{tried['score']:.4f}", *numbers, str(len(tried["warnings"]))]


def judged(found: Mapping[str, Any]) -> list[str]:
    """Return what the best candidate is not clearly better than, a sentence each."""
    best, noise = found["candidates"][0], found["noise"]
    said = []
    for each in found["beside"]:
        gain = best["score"] - each["score"]
        what = "training alone" if each["name"] == LOCAL else "the setting as it is"
        if gain < 0:
            said.append(f"{what} is better than the best candidate, by {-gain:.4f}")
        elif gain < noise:
            said.append(f"the best candidate is not clearly better than {what}: {gain:+.4f}")
    return said


def line(chosen: RunSettings, options: spaces.Options) -> str:
    """Return the command line of the scenario with these hyperparameters."""
    whole = chosen.model_copy(update={"options": {**chosen.options, **options}})
    if not algorithms.needs_generator(whole.algorithm, **whole.chosen(classes=2)):
        chosen = chosen.model_copy(update={"generator": None})
    words = ["edgeloop", "simulate", chosen.algorithm]
    for name, field in RunSettings.model_fields.items():
        value = getattr(chosen, name)
        if name in ("algorithm", "options", "workers") or value == field.default:
            continue
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    for key, value in whole.options.items():
        words += ["--set", f"{key}={_toml(value)}"]
    return shlex.join(words)


def in_a_file(chosen: RunSettings, options: spaces.Options) -> str:
    """Return the hyperparameters as an aggregator's TOML file has them."""
    pairs = {**chosen.options, **options}.items()
    inner = ", ".join(f"{key} = {_toml(value)}" for key, value in pairs)
    variant = "" if chosen.variant == "released" else f'variant = "{chosen.variant}", '
    return f"{variant}hyperparameters = {{ {inner} }}"


def _toml(value: Any) -> str:
    return tomli_w.dumps({"x": value}).partition("=")[2].strip()
