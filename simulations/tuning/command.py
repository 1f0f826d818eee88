"""Tries hyperparameters on samples held out of the clients' training data, never on test data."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tomli_w
import typer

from edgeloop import algorithms
from edgeloop.cli import console, options
from edgeloop.errors import ConfigError
from edgeloop.runtime.config import Option
from simulations.results.measurements import in_words
from simulations.settings import DataSettings, RunSettings
from simulations.tuning import space as spaces
from simulations.tuning.study import LOCAL, Method, Tuning, run, total


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop tune` with these arguments."""
    return console.run(command, "tune", arguments)


SCENARIO = (
    *DataSettings.model_fields,
    *("algorithm", "models", "width", "rounds", "join_ratio", "seed", "batch_size"),
    *("variant", "options", "generator", "base", "device", "workers"),
)
"""What of a run its candidates have in common."""

CHANGES = {
    "algorithm": Option(help="Algorithm; see edgeloop algorithms."),
    "rounds": Option(
        default=30,
        help="Number of rounds of the longest runs; 1 where an algorithm needs a single exchange.",
    ),
    "seed": Option(help="Seed of the first run; each next one is one higher."),
    "options": Option(help="A hyperparameter of all candidates: key=value."),
    "workers": Option(help="Number of parallel runs, or auto for one per core."),
}


@options.of(RunSettings, "tune", only=SCENARIO, changes=CHANGES)
def command(
    settings: RunSettings,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds for each candidate.")] = 1,
    try_: Annotated[
        list[str] | None,
        typer.Option("--try", help="What to try: key=value,value. [default: the algorithm's own]"),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="Search: halving, or grid (every candidate for all rounds).")
    ] = "halving",
    held_out: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9, help="Fraction of the training samples held out for validation."
        ),
    ] = 0.25,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder of the study. [default: runs/tune-ALGORITHM-DATA]"),
    ] = None,
) -> None:
    """Tune an algorithm's hyperparameters; run the same command again to continue after a stop."""
    settings.check()
    if algorithms.info(settings.algorithm).rounds == 1:
        settings = settings.model_copy(update={"rounds": 1})  # another exchange tells nothing new
    algorithm, wanted = settings.algorithm, settings.workers
    folder = out or Path("runs") / f"tune-{algorithm}-{Path(settings.data).resolve().stem}"
    space = spaces.parse(algorithm, try_ or [])
    _check(space, settings)
    tuning = Tuning(settings, space, method, seeds, held_out, folder)
    with console.progress(f"tune {algorithm}", total(tuning)) as report:
        finished: list[str] = []

        def done(title: str, summary: Mapping[str, Any]) -> None:
            finished.append(title)
            report(len(finished), f"{title}: {in_words(summary['final_accuracy'])}")

        found = run(tuning, None if wanted == "auto" else wanted, done)
    _show(tuning, found)


def _check(space: spaces.Space, settings: RunSettings) -> None:
    """Refuse a hyperparameter that is both tried and set.

    Raises:
        ConfigError: naming it.
    """
    for name in space:
        if name in settings.options:
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
    for sentence in caveats(found):
        console.say(sentence)
    console.say(f"use: {command_line(tuning.settings, found['chosen'])}")
    console.say(f"or, in a task's file:\n{in_a_file(tuning.settings, found['chosen'])}")
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


def caveats(found: Mapping[str, Any]) -> list[str]:
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


def command_line(settings: RunSettings, tuned: spaces.Options) -> str:
    """Return the command line of the scenario with these hyperparameters."""
    changes = {"options": {**settings.options, **tuned}}
    whole = settings.model_copy(update=changes).without_unasked()
    words = ["edgeloop", "simulate", settings.algorithm]
    fields = RunSettings.model_fields.items()
    for name, field in sorted(fields, key=lambda each: not each[1].is_required()):
        value = getattr(whole, name)
        if name in ("algorithm", "options", "workers") or value == field.default:
            continue
        flag = f"--{name.replace('_', '-')}"
        words += [flag] if value is True else [flag, str(value)]
    for key, value in whole.options.items():
        words += ["--set", f"{key}={_toml(value)}"]
    return shlex.join(words)


def in_a_file(settings: RunSettings, tuned: spaces.Options) -> str:
    """Return the hyperparameters as an aggregator's TOML file has them."""
    pairs = {**settings.options, **tuned}.items()
    inner = ", ".join(f"{key} = {_toml(value)}" for key, value in pairs)
    named = {"variant": settings.variant, "base": settings.base}
    lines = [
        f"{key} = {_toml(each)}" for key, each in named.items() if each not in (None, "released")
    ]
    return "\n".join([*lines, f"hyperparameters = {{ {inner} }}"])


def _toml(value: Any) -> str:
    return tomli_w.dumps({"x": value}).partition("=")[2].strip()
