"""Real tritonservers for tests: one that serves what a test writes into its repository."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloud.generator_service import repository, server
from cloud.generator_service.server import Ports, TritonInstallation
from cloud.generator_service.settings import Serving
from edgeloop.errors import GeneratorError
from edgeloop.generators import control, triton

INSTALL = Path(__file__).parent.parent / "tools" / "triton.sh"


@dataclass(frozen=True)
class Server:
    """A tritonserver of this test session's own.

    Attributes:
        process: of the server.
        repository: of its models.
        ports: that it listens on.
        secret: file with the secret of whoever may control it.
    """

    process: subprocess.Popen[bytes]
    repository: Path
    ports: Ports
    secret: Path

    @property
    def headers(self) -> dict[str, str]:
        """What a request shows that controls it."""
        return control.headers(control.read_secret(self.secret))

    def reference(self, name: str) -> str:
        """Return how a user names a generator there."""
        return f"triton://127.0.0.1:{self.ports.grpc}/{name}"

    def serve(
        self, folder: Path, name: str, *, version: int = 1, serving: Serving | None = None
    ) -> str:
        """Write a generator and have the running server take it up; return its reference."""
        described = repository.write(
            folder, self.repository, name, version=version, serving=serving
        )
        triton.load_version(
            self.reference(name), version, described.identity, control.read_secret(self.secret)
        )
        return self.reference(name)


def home() -> TritonInstallation:
    """Return the tritonserver for the tests; install it if need be.

    In CI it is an error if there is none; elsewhere the test is skipped.
    """
    try:
        found = server.find_installation()
    except GeneratorError:
        found = None
    if found is not None and not found.is_complete:
        return found
    done = subprocess.run(
        [INSTALL], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True
    )
    if done.returncode:
        problem = f"no tritonserver: {done.stderr.strip()}"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    return server.find_installation()


@contextmanager
def running(
    folder: Path, found: TritonInstallation, ports: Ports | None = None
) -> Iterator[Server]:
    """Run a tritonserver on the models in FOLDER/models."""
    ports = ports or server.free_ports()
    models = folder / "models"
    models.mkdir(exist_ok=True)
    place = models / server.SECRET
    secret = control.read_or_create_secret(place)
    with server.running(models, found, ports, folder / "log", secret=secret) as process:
        yield Server(process, models, ports, place)
