"""Shows the main job on this machine: a broker, aggregators and ten devices learn together."""

import json
import shlex
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from edgeloop import bases, data, generators, models
from edgeloop.bases import building
from edgeloop.bases.running import Base
from edgeloop.cli import console, options
from edgeloop.errors import BaseError, RunError
from edgeloop.runtime import atomic_files
from edgeloop.runtime.ports import free_port
from simulations.demo import broker, page
from simulations.demo.dealing import split_images
from simulations.demo.page import Page
from simulations.demo.processes import Processes
from simulations.demo.settings import ONCE, DemoSettings
from simulations.demo.stage import DemoTask
from simulations.report import command as report
from simulations.report import read_demo


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop demo` with these arguments."""
    return console.run(demo, "demo", arguments)


@options.of(DemoSettings, "demo", ranges=True)
def demo(settings: DemoSettings) -> None:
    """Run the main job with embedded data: devices with 20 Fashion-MNIST images each."""
    architectures = models.client_architectures(settings.group, settings.devices)
    settings.check(architectures)
    # So that too many images are an error before anything is written:
    split_images(settings.devices, settings.images, settings.seed)
    folder = _new_folder(settings.out)
    console.say(
        f"{settings.devices} devices, each a process with {settings.images} images of each class"
        " and its own model; all are tested on the same 1,000 images"
    )
    found = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        place = folder if settings.seeds == 1 else folder / f"seed-{seed}"
        stage = _make_task(settings, architectures, seed, place)
        found.append(
            _shown(stage, settings.triton, settings.seeds == 1 and page.is_wanted(settings.console))
        )
    if settings.seeds > 1:
        _show_seeds(found, settings.algorithm)
    console.say(f"everything is in {folder}: logs, ledgers, prototypes, models, data")


def _new_folder(out: Path | None) -> Path:
    """Make the demo's folder, and return it.

    Raises:
        RunError: if there is something in it.
    """
    folder = (out or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")).absolute()
    with atomic_files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RunError("--out", f"{folder} is not empty", "name another folder")
    return folder


def _make_task(
    settings: DemoSettings, architectures: list[str], seed: int, folder: Path
) -> DemoTask:
    """Write a seed's data; return the task that learns from it."""
    federation = split_images(settings.devices, settings.images, seed)
    return DemoTask(
        folder,
        federation,
        architectures,
        settings.rounds,
        seed,
        data.write(federation, folder / "data"),
        settings.algorithm,
        settings.epochs,
        settings.generator,
    )


def _shown(stage: DemoTask, triton: bool, paged: bool) -> dict[str, float]:
    """Run one seed's tasks, and show what they came to; return the mean accuracies by name."""
    stage.folder.mkdir(parents=True, exist_ok=True)
    (stage.folder / "statistics").mkdir()
    stage = replace(stage, stays=paged)
    place, port = stage.folder / "statistics", free_port()
    once = replace(stage, folder=place, algorithm=ONCE, rounds=1, generator=None, http_port=port)
    once = replace(once, base=_base(stage))
    with ExitStack() as until_shown:
        shown = _page(until_shown, once, stage) if paged else None
        with broker.running_broker(stage.folder) as (name, broker_port):
            console.say(f"broker: {name}, port {broker_port}")
            _learn(stage, once, triton, broker_port, until_shown)
        found = _show(stage, once)
        if shown is not None:
            shown.stay()
    return found


def _base(stage: DemoTask) -> Path | None:
    """Return the folder of the base in the user's store, where the first demo puts it.

    None for who has no store, or a damaged base in it: the aggregator then computes its own.
    """
    shape, classes = stage.federation.shape, len(stage.federation.class_names)
    generator = generators.load(generators.EMBEDDED)
    building.load_or_compute(generator, shape, classes, console.say)
    recipe = building.recipe_for(shape, classes).model_dump_json()
    try:
        place = bases.folder_of(bases.cache_name(generator.identity, recipe, shape))
        Base.read(place)
    except BaseError:
        return None
    return place


def _page(stack: ExitStack, once: DemoTask, stage: DemoTask) -> Page:
    """Serve the page until a stack of contexts is left."""
    processes = stack.enter_context(Processes(stage.folder))
    shown = Page(processes, (once, stage), stage.folder / "alone")
    shown.say()
    return shown


def _learn(
    stage: DemoTask, once: DemoTask, triton: bool, port: int, until_shown: ExitStack
) -> None:
    """Run both tasks; aggregators that stay end with a stack of contexts."""
    with ExitStack() as ending:
        stack = until_shown if stage.stays else ending
        processes = stack.enter_context(Processes(stage.folder))
        # What is wrong with a server is said before anything is learned.
        ready = stack.enter_context(_served(processes, stage, triton))
        _learn_once(once, port, until_shown)
        console.say(f"{stage.algorithm}, and alone: the same devices without the others")
        processes.start_task(ready, port)
        processes.start_alone(stage)  # while the server trains, the other core is free
        _follow(processes, ready)


def _learn_once(once: DemoTask, port: int, until_shown: ExitStack) -> None:
    begun = time.monotonic()
    with ExitStack() as ending:
        stack = until_shown if once.stays else ending
        processes = stack.enter_context(Processes(once.folder))
        console.say("class statistics: one exchange, no network is trained")
        processes.start_task(once, port)
        _follow(processes, once)
    console.say(f"accuracy {once.final_accuracy():.3f} after {time.monotonic() - begun:.0f} s")


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
        status = None
        while processes.working() or (stage.stays and not (status and status.finished)):
            status = stage.status()
            if status is not None:
                report(status.round, f"round {status.round}, accuracy {status.accuracy:.3f}")
            time.sleep(0.5)  # between two looks


def _show(stage: DemoTask, once: DemoTask) -> dict[str, float]:
    alone = json.loads((stage.folder / "alone" / "summary.json").read_text(encoding="utf-8"))
    own = [alone["accuracy_by_client"][client] for client in sorted(alone["accuracy_by_client"])]
    rows = [_row(stage, once, number, own[number]) for number in range(len(own))]
    columns = ["device", "model", "images", "alone", stage.algorithm, ONCE, "ONNX classifier"]
    console.table("accuracy on 1,000 test images, of what each device puts into use", columns, rows)
    found = {
        "alone": alone["final_accuracy"],
        stage.algorithm: stage.final_accuracy(),
        ONCE: once.final_accuracy(),
    }
    means = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in found.items())
    console.say(f"mean of all devices: {means}")
    _say_network(stage)
    for name, each in ((stage.algorithm, stage), (ONCE, once)):
        if outcome := read_demo(each.folder, stage.folder / "alone").verdict:
            console.say(f"{name}: {outcome}")
    model = once.folder / once.names[0] / "model.onnx"
    words = ["edgeloop", "predict", str(model), *map(str, stage.write_examples())]
    console.say(f"try: {shlex.join(words)}")
    console.say(f"report: {report.write(stage.folder)}")
    return found


def _say_network(stage: DemoTask) -> None:
    """Tell what the algorithm's networks reach without what the devices learned alone."""
    reached = stage.network_accuracy()
    if reached is None:
        return
    count, last = stage.last_half, stage.rounds
    rounds = f"the mean of rounds {last - count + 1} to {last}" if count > 1 else f"round {last}"
    console.say(
        f"{stage.algorithm} in use is a mixture with the network trained alone; its own networks"
        f" reach {reached:.3f} ({rounds})"
    )


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
