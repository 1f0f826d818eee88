"""What the demo sets up: the configuration files of a task's processes, and what they report."""

import json
import statistics
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from edgeloop import algorithms
from edgeloop.data import Federation
from edgeloop.mixing.wording import accuracy_in_use
from edgeloop.runtime.ports import free_port


@dataclass(frozen=True)
class Progress:
    """How far the task has come.

    Attributes:
        round: how many rounds are done.
        accuracy: before the last of them.
        finished: whether its results are written.
    """

    round: int
    accuracy: float
    finished: bool = False


@dataclass(frozen=True)
class DemoTask:
    """One task of the demo.

    Attributes:
        folder: for everything that is written.
        federation: the devices' data.
        architectures: one a device.
        rounds: how many.
        seed: of the run.
        data: the folder of the devices' data.
        algorithm: of the task.
        epochs: of a device a round, where the algorithm has any.
        generator: a reference, for an algorithm that needs one.
        http_port: where the aggregator tells its status.
        stays: whether the aggregator stays when the task is done.
        base: a folder, for an algorithm that needs one.
    """

    folder: Path
    federation: Federation
    architectures: list[str]
    rounds: int
    seed: int
    data: Path
    algorithm: str = "fedktl"
    epochs: int = 1
    generator: str | None = None
    http_port: int = field(default_factory=free_port)
    stays: bool = False
    base: Path | None = None

    @property
    def names(self) -> list[str]:
        """The devices' names; their order is their clients' order."""
        digits = len(str(len(self.architectures) - 1))
        return [f"device-{number:0{digits}}" for number in range(len(self.architectures))]

    @property
    def task(self) -> str:
        """The task's name; two tasks of the demo share a broker."""
        return f"demo-{self.algorithm}"

    def _hyperparameters(self) -> str:
        """Tell how devices train, and an algorithm that builds a model of its own which one."""
        facts = {"architecture": self.architectures[0], "local_epochs": self.epochs}
        first = algorithms.supported_options(self.algorithm, **facts)
        pairs = (f"{name} = {json.dumps(value)}" for name, value in first.items())
        return f"hyperparameters = {{ {', '.join(pairs)} }}"

    def write_task(self, port: int) -> Path:
        """Write the aggregator's configuration file; return its path."""
        return self._write(
            "aggregator",
            f"""
            name = {json.dumps(self.task)}
            algorithm = {json.dumps(self.algorithm)}
            class_names = {json.dumps(self.federation.class_names)}
            shape = {list(self.federation.shape)}
            rounds = {self.rounds}
            seed = {self.seed}
            history = true
            folder = {json.dumps(str(self.folder / "aggregator"))}
            {f"generator = {json.dumps(self.generator)}" if self.generator else ""}
            {f"base = {json.dumps(str(self.base))}" if self.base else ""}
            {self._hyperparameters()}

            [broker]
            port = {port}

            [http]
            port = {self.http_port}
            linger = {str(self.stays).lower()}

            [cohort]
            devices = {json.dumps(self.names)}
            """,
        )

    def write_device(self, number: int, port: int) -> Path:
        """Write a device's configuration file; return its path."""
        name = self.names[number]
        return self._write(
            name,
            f"""
            name = {json.dumps(name)}
            task = {json.dumps(self.task)}
            folder = {json.dumps(str(self.folder / name))}

            [broker]
            port = {port}

            [data]
            source = {json.dumps(str(self.data))}
            client = {number}

            [training]
            architecture = {json.dumps(self.architectures[number])}
            threads = 1

            # Ten agents share one machine here: each makes its classifier once, at the end.
            [model]
            every_rounds = 0
            """,
        )

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
        return path

    def status(self) -> Progress | None:
        """Ask the aggregator how far it is; None while it does not answer."""
        url = f"http://127.0.0.1:{self.http_port}/status"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                status = json.load(answer)
        except OSError:
            return None
        finished = status["phase"] == "finished"
        return Progress(status["round"], status["accuracy"] or 0.0, finished)

    def write_examples(self, count: int = 3) -> list[Path]:
        """Write some of the first device's test images as PNG; return their paths."""
        shard = self.federation.shards(0).test
        names = self.federation.class_names
        paths = []
        for number in range(min(count, len(shard.labels))):
            label = names[shard.labels[number]].replace("/", "-").replace(" ", "-")
            paths.append(self.folder / f"example-{number}-{label}.png")
            Image.fromarray(shard.inputs[number][0].astype("uint8")).save(paths[-1])
        return paths

    def summary(self, number: int) -> dict[str, Any]:
        """Return what a device has written when it ended."""
        path = self.folder / self.names[number] / "summary.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def accuracy(self, number: int) -> float:
        """Return the accuracy of what a device has put into use: a mixture, where it has one."""
        mixed, last = self._mixed(number), self.summary(number)["accuracy_by_round"]
        return float(last[str(self.rounds)] if mixed is None else mixed)

    def final_accuracy(self) -> float:
        """Return the mean accuracy of what the devices have put into use."""
        return statistics.fmean(self.accuracy(number) for number in range(len(self.architectures)))

    def _mixed(self, number: int) -> float | None:
        """Return the accuracy of a device's mixture; None where it uses none of this run."""
        return accuracy_in_use(self.summary(number))

    def network_accuracy(self) -> float | None:
        """Return the accuracy of the run's models themselves, the mean of the last half's rounds.

        One round's differs by more than a point from machine to machine. None where no device
        uses anything else.
        """
        if all(self._mixed(number) is None for number in range(len(self.architectures))):
            return None
        path = self.folder / "aggregator" / "summary.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        return statistics.fmean(found["accuracy_by_round"][-self.last_half :])

    @property
    def last_half(self) -> int:
        """How many rounds the last half has."""
        return (self.rounds + 1) // 2
