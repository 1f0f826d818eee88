"""Shows the main job on this machine: a broker, aggregators and ten devices learn together."""

import json
import shlex
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edgeloop import algorithms, data, generators, models
from edgeloop.cli import console
from edgeloop.errors import ConfigError, RunError
from edgeloop.runtime import atomic_files
from simulations.demo import broker
from simulations.demo.dealing import split_images
from simulations.demo.processes import Processes
from simulations.demo.stage import DemoTask
from simulations.report import command as report
from simulations.report import read_demo

ONCE = "class-statistics"
"""What the demo shows first: one exchange."""


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop demo` with these arguments."""
    return console.run(demo, "demo", arguments)


def demo(  # noqa: PLR0913 - an option each
    rounds: Annotated[int, typer.Option(min=1, help="Number of training rounds.")] = 20,
    epochs: Annotated[int, typer.Option(min=1, help="Local epochs of a device per round.")] = 5,
    devices: Annotated[int, typer.Option(min=2, max=50, help="Number of devices.")] = 10,
    images: Annotated[int, typer.Option(min=1, help="Images of each class on a device.")] = 2,
    group: Annotated[
        str, typer.Option(help="Model group; devices take its architectures in turn.")
    ] = "small-4",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images and the weights.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, max=20, help="Number of seeds to repeat the demo with.")
    ] = 1,
    algorithm: Annotated[
        str,
        typer.Option(help="Algorithm to run after class statistics; see edgeloop algorithms."),
    ] = "fedktl",
    generator: Annotated[
        str | None, typer.Option(help="Generator; see `edgeloop generator list`. [default: digits]")
    ] = None,
    triton: Annotated[
        bool, typer.Option("--triton", help="Serve the generator with a Triton of the demo's own.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. [default: runs/demo-TIME]")
    ] = None,
) -> None:
    """Run the main job with embedded data: devices with 20 Fashion-MNIST images each."""
    architectures = models.client_architectures(group, devices)
    _check(algorithm, architectures, generator, triton)
    split_images(
        devices, images, seed
    )  # so that too many images are told before anything is written
    folder = (out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")).absolute()
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunError("--out", f"{folder} is not empty", "name another folder")
    console.say(
        f"{devices} devices, each a process with {images} images of each class and its own model;"
        " all are tested on the same 1,000 images"
    )
    found = []
    for number in range(seed, seed + seeds):
        place = folder if seeds == 1 else folder / f"seed-{number}"
        federation = split_images(devices, images, number)
        held = data.write(federation, place / "data")
        stage = DemoTask(
            place, federation, architectures, rounds, number, held, algorithm, epochs, generator
        )
        found.append(_shown(stage, triton))
    if seeds > 1:
        _show_seeds(found, algorithm)
    console.say(f"everything is in {folder}: logs, ledgers, prototypes, models, data")


def _check(
    algorithm: str, architectures: Sequence[str], generator: str | None, triton: bool
) -> None:
    info = algorithms.info(algorithm)
    first = algorithms.supported_options(algorithm, architecture=architectures[0])
    facts = algorithms.supported_options(algorithm, classes=1, width=1)
    algorithms.check_same_architecture(algorithm, architectures, **facts, **first)
    if "mqtt" not in info.runs_in:
        problem = f"{algorithm} sends nothing: the demo runs it beside any other as `alone`"
        raise ConfigError("--algorithm", problem, f"choose one of {', '.join(_shown_with())}")
    if algorithm == ONCE:
        problem = "the demo shows it beside any other"
        raise ConfigError("--algorithm", problem, f"choose one of {', '.join(_shown_with())}")
    if (generator or triton) and not info.generator:
        option = "--generator" if generator else "--triton"
        raise ConfigError(option, f"{algorithm} asks no generator", "leave it out")
    if generator is not None:
        generators.load(generator)  # before the first task, which asks none


def _shown_with() -> list[str]:
    """Return what the demo can show after class statistics: what devices run, too."""
    runs = (name for name in algorithms.built_in() if "mqtt" in algorithms.info(name).runs_in)
    return [name for name in runs if name != ONCE]


def _shown(stage: DemoTask, triton: bool) -> dict[str, float]:
    """Run one seed's tasks, and show what they came to; return the mean accuracies by name."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    (stage.folder / "statistics").mkdir()
    once = replace(
        stage, folder=stage.folder / "statistics", algorithm=ONCE, rounds=1, generator=None
    )
    with broker.running_broker(stage.folder) as (name, port):
        console.say(f"broker: {name}, port {port}")
        begun = time.monotonic()
        with Processes(once.folder) as processes:
            console.say("class statistics: one exchange, no network is trained")
            processes.start_task(once, port)
            _follow(processes, once)
        console.say(f"accuracy {once.final_accuracy():.3f} after {time.monotonic() - begun:.0f} s")
        with Processes(stage.folder) as processes, _served(processes, stage, triton) as ready:
            processes.start_task(ready, port)
            _follow(processes, ready)
    console.say("alone: the same devices, images and models, without the others")
    with Processes(stage.folder) as processes:
        processes.run_alone(stage)
    return _show(stage, once)


@contextmanager
def _served(processes: Processes, stage: DemoTask, triton: bool) -> Iterator[DemoTask]:
    """Serve the generator, if that is asked for; yield the stage with the reference to it."""
    if not triton:
        yield stage
        return
    served = processes.start_triton(stage.generator or generators.EMBEDDED)
    console.say(f"generator: {served}, see {stage.folder / 'tritonserver.log'}")
    yield replace(stage, generator=served)


def _follow(processes: Processes, stage: DemoTask) -> None:
    """Show the rounds until every process has ended well."""
    with console.progress(stage.algorithm, stage.rounds) as report:
        while processes.working():
            status = stage.status()
            if status is not None:
                report(status.round, f"round {status.round}, accuracy {status.accuracy:.3f}")
            time.sleep(0.5)  # between two looks


def _show(stage: DemoTask, once: DemoTask) -> dict[str, float]:
    alone = json.loads((stage.folder / "alone" / "summary.json").read_text(encoding="utf-8"))
    own = [alone["accuracy_by_client"][client] for client in sorted(alone["accuracy_by_client"])]
    rows = [_row(stage, once, number, own[number]) for number in range(len(own))]
    columns = ["device", "model", "images", "alone", stage.algorithm, ONCE, "ONNX classifier"]
    console.table("accuracy on 1,000 test images, after the last round", columns, rows)
    found = {
        "alone": alone["final_accuracy"],
        stage.algorithm: stage.final_accuracy(),
        ONCE: once.final_accuracy(),
    }
    means = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items())
    console.say(f"mean of all devices: {means}")
    for name, each in ((stage.algorithm, stage), (ONCE, once)):
        if told := read_demo(each.folder, stage.folder / "alone").verdict:
            console.say(f"{name}: {told}")
    model = once.folder / once.names[0] / "model.onnx"
    words = ["edgeloop", "predict", str(model), *map(str, stage.write_examples())]
    console.say(f"try: {shlex.join(words)}")
    console.say(f"report: {report.write(stage.folder)}")
    return found


def _row(stage: DemoTask, once: DemoTask, number: int, alone: float) -> list[object]:
    """Return a device's row of the final table."""
    summary = stage.summary(number)
    return [
        stage.names[number],
        summary["architecture"],
        summary["train_samples"],
        f"{alone:.3f}",
        f"{stage.accuracy(number):.3f}",
        f"{once.accuracy(number):.3f}",
        once.summary(number)["onnx"],
    ]


def _show_seeds(found: Sequence[dict[str, float]], algorithm: str) -> None:
    """Tell the gains over the devices alone, seed by seed."""
    for name in (algorithm, ONCE):
        gains = [100 * (each[name] - each["alone"]) for each in found]
        each = ", ".join(f"{gain:+.1f}" for gain in gains)
        console.say(
            f"{name} over alone, by seed: {each}; mean {statistics.mean(gains):+.1f} points"
        )
