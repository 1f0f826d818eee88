"""The demo's processes: started together, watched, and ended together."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from edgeloop.errors import RunError
from edgeloop.runtime.child_processes import bound, edgeloop, environment
from edgeloop.runtime.ports import free_ports
from simulations.demo.stage import DemoTask

READY = "ready: "
"""What a served generator's line begins with, before the reference to it."""


class Processes:
    """Processes of the `edgeloop` command, each with a log of its own.

    Args:
        folder: for the logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._services: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait()

    def start_triton(self, reference: str) -> str:
        """Serve a generator with a Triton of the demo's own; return the reference to it.

        Raises:
            RunError: if it ends before it is ready.
        """
        ports = dict(
            zip(("--http-port", "--grpc-port", "--metrics-port"), free_ports(3), strict=True)
        )
        options = [word for name, port in ports.items() for word in (name, str(port))]
        log = ["--log", str(self._folder / "tritonserver.log")]
        self._start("generator", "generator", "serve", reference, *options, *log)
        self._services.add("generator")
        while True:
            self.working()
            for line in self._log("generator").read_text(encoding="utf-8").splitlines():
                if line.startswith(READY):
                    return line.removeprefix(READY)
            time.sleep(0.1)  # between two looks

    def start_server(self, config: Path) -> None:
        """Start an `edgeloop server`."""
        self._start("server", "server", "--config", str(config))
        self._services.add("server")

    def start_task(self, stage: DemoTask, port: int) -> None:
        """Start the aggregator and every device."""
        if stage.stays:
            self._services.add("aggregator")
        self._start("aggregator", "aggregator", "--config", str(stage.write_task(port)))
        for number, name in enumerate(stage.names):
            self._start(name, "agent", "--config", str(stage.write_device(number, port)))

    def start_alone(self, stage: DemoTask) -> None:
        """Start to train the same devices without the others, on one core."""
        group = ",".join(stage.architectures)
        options = ["--rounds", str(stage.rounds), "--seed", str(stage.seed), "--models", group]
        options += ["--set", f"local_epochs={stage.epochs}", "--workers", "1"]
        places = ["--data", str(stage.data), "--out", str(stage.folder / "alone")]
        self._start("alone", "simulate", "local", *places, *options)

    def working(self) -> bool:
        """Return whether any process is still at work that has an end.

        Raises:
            RunError: if one has ended badly, or should not have ended, with the end of its log.
        """
        for name, process in self._processes.items():
            if process.poll() or (name in self._services and process.poll() is not None):
                log = self._log(name)
                last = (
                    log.read_text(errors="replace").strip().splitlines()[-3:]
                    if log.exists()
                    else []
                )
                raise RunError(
                    name, f"ended with {process.returncode}: {' | '.join(last)}", f"see {log}"
                )
        return any(
            process.poll() is None
            for name, process in self._processes.items()
            if name not in self._services
        )

    def _start(self, name: str, *words: str) -> None:
        command = bound(edgeloop(*words), signal.SIGTERM)
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own command
                command, env=environment(), stdout=log, stderr=log
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"
