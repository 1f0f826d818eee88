"""Shows the main job on this machine: a broker, an aggregator and six devices learn together."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edgeloop import algorithms, data, files, generators, models, screen
from edgeloop.data import Partition
from edgeloop.errors import ConfigError, RunError
from simulations.demo import broker
from simulations.demo.processes import Processes
from simulations.demo.stage import Stage
from simulations.report import command as report


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop demo` with these arguments."""
    return screen.run(demo, "demo", arguments)


def demo(
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds.")] = 6,
    devices: Annotated[int, typer.Option(min=2, max=50, help="How many devices.")] = 6,
    samples: Annotated[int, typer.Option(min=20, help="Images a device, on average.")] = 100,
    group: Annotated[str, typer.Option(help="The devices' architectures, in turn.")] = "small-4",
    seed: Annotated[int, typer.Option(help="Of the weights and of every shuffle.")] = 0,
    algorithm: Annotated[str, typer.Option(help="Over MQTT: fedktl, fedtgp, fedproto.")] = "fedktl",
    generator: Annotated[
        str | None, typer.Option(help="See `edgeloop generator list`. [default: digits]")
    ] = None,
    triton: Annotated[
        bool, typer.Option("--triton", help="Serve the generator with a Triton of the demo's own.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/demo-TIME if not given.")] = None,
) -> None:
    """Run the main job with embedded data: Fashion-MNIST in unequal shares (Dirichlet 0.1)."""
    members = models.members(group, devices)
    _check(algorithm, members, generator, triton)
    folder = (out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")).absolute()
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunError("--out", f"{folder} is not empty", "name another folder")
    shares = Partition("dirichlet", clients=devices, alpha=0.1, samples=samples * devices)
    dealt = data.load("fashion-sample", shares)
    data.write(dealt, folder / "data")
    stage = Stage(folder, dealt, members, rounds, seed, algorithm, generator)
    with broker.running(folder) as (name, port), Processes(folder) as processes:
        screen.say(f"broker: {name}, port {port}")
        screen.say(f"devices: {devices}, each a process with its own data and model")
        if triton:
            served = processes.start_triton(generator or generators.EMBEDDED)
            screen.say(f"generator: {served}, see {folder / 'tritonserver.log'}")
            stage = replace(stage, generator=served)
        processes.start_task(stage, port)
        _follow(processes, stage)
    screen.say("alone: the same devices, data and models, without the others")
    with Processes(folder) as processes:
        processes.run_alone(stage)
    _show(stage)


def _check(
    algorithm: str, architectures: Sequence[str], generator: str | None, triton: bool
) -> None:
    card = algorithms.card(algorithm)
    first = algorithms.given(algorithm, architecture=architectures[0])
    algorithms.check_alike(algorithm, architectures, classes=1, width=1, **first)
    if "mqtt" not in card.runs:
        problem = f"{algorithm} sends nothing: the demo runs it beside any other as `alone`"
        raise ConfigError("--algorithm", problem, "choose fedktl, fedtgp or fedproto")
    if (generator or triton) and not card.generator:
        option = "--generator" if generator else "--triton"
        raise ConfigError(option, f"{algorithm} asks no generator", "leave it out")


def _follow(processes: Processes, stage: Stage) -> None:
    """Show the rounds until every process has ended well."""
    with screen.progress("federated", stage.rounds) as report:
        while processes.working():
            status = stage.status()
            if status is not None:
                report(status.round, f"round {status.round}, accuracy {status.accuracy:.3f}")
            time.sleep(0.5)  # between two looks


def _show(stage: Stage) -> None:
    alone = json.loads((stage.folder / "alone" / "summary.json").read_text(encoding="utf-8"))
    rows = [stage.row(number, alone) for number in range(len(stage.architectures))]
    columns = ["device", "model", "train", "test", "alone", "federated", "ONNX classifier"]
    screen.table("accuracy on each device's own test data, after the last round", columns, rows)
    together = json.loads(
        (stage.folder / "aggregator" / "summary.json").read_text(encoding="utf-8")
    )
    screen.say(
        f"all devices, weighted by test samples: alone {alone['final_accuracy']:.3f}, "
        f"federated {together['accuracy_by_round'][-1]:.3f}"
    )
    screen.say(f"everything is in {stage.folder}: logs, ledger, prototypes, models, data")
    model = stage.folder / stage.names[0] / "model.onnx"
    words = ["edgeloop", "predict", str(model), *map(str, stage.write_examples())]
    screen.say(f"try: {shlex.join(words)}")
    screen.say(f"report: {report.write(stage.folder)}")
