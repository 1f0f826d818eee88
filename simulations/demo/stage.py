"""What the demo sets up: the configuration files of its processes, and what they report."""

import json
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from edgeloop import algorithms
from edgeloop.data import Federation
from edgeloop.local.ports import free_port


@dataclass(frozen=True)
class Progress:
    """How far the task has come: rounds done, and the accuracy before the last of them."""

    round: int
    accuracy: float


@dataclass(frozen=True)
class Stage:
    """One demo run.

    Attributes:
        folder: for everything that is written.
        federation: the devices' data.
        architectures: one a device.
        rounds: how many.
        seed: the run's.
        algorithm: of the task.
        generator: a reference, for an algorithm that needs one.
        http_port: where the aggregator tells its status.
    """

    folder: Path
    federation: Federation
    architectures: list[str]
    rounds: int
    seed: int
    algorithm: str = "fedktl"
    generator: str | None = None
    http_port: int = field(default_factory=free_port)

    @property
    def names(self) -> list[str]:
        """The devices' names; their order is their clients' order."""
        digits = len(str(len(self.architectures) - 1))
        return [f"device-{number:0{digits}}" for number in range(len(self.architectures))]

    def _hyperparameters(self) -> str:
        """Tell an algorithm that builds a model of its own which one."""
        first = algorithms.given(self.algorithm, architecture=self.architectures[0])
        pairs = (f"{name} = {json.dumps(value)}" for name, value in first.items())
        return f"hyperparameters = {{ {', '.join(pairs)} }}"

    def write_task(self, port: int) -> Path:
        """Write the aggregator's configuration file; return its path."""
        return self._write(
            "aggregator",
            f"""
            name = "demo"
            algorithm = {json.dumps(self.algorithm)}
            class_names = {json.dumps(self.federation.class_names)}
            shape = {list(self.federation.shape)}
            rounds = {self.rounds}
            seed = {self.seed}
            history = true
            folder = {json.dumps(str(self.folder / "aggregator"))}
            {f"generator = {json.dumps(self.generator)}" if self.generator else ""}
            {self._hyperparameters()}

            [broker]
            port = {port}

            [http]
            port = {self.http_port}

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
            task = "demo"
            folder = {json.dumps(str(self.folder / name))}

            [broker]
            port = {port}

            [data]
            source = {json.dumps(str(self.folder / "data"))}
            client = {number}

            [training]
            architecture = {json.dumps(self.architectures[number])}
            threads = 1
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
        return Progress(status["round"], status["accuracy"] or 0.0)

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

    def row(self, number: int, alone: dict[str, Any]) -> list[object]:
        """Return a device's row of the final table."""
        name = self.names[number]
        summary = json.loads((self.folder / name / "summary.json").read_text(encoding="utf-8"))
        accuracies = alone["accuracy_by_client"]
        own = accuracies[sorted(accuracies)[number]]
        return [
            name,
            summary["architecture"],
            summary["train_samples"],
            summary["test_samples"],
            f"{own:.3f}",
            f"{summary['accuracy_by_round'][str(self.rounds)]:.3f}",
            summary["onnx"],
        ]
