import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cloud.generator_service import server, serving
from cloud.generator_service.server import TritonInstallation
from edgeloop.cli import console
from edgeloop.errors import GeneratorError, UnavailableError
from edgeloop.generators import manifest
from edgeloop.generators.onnx import OnnxGenerator
from edgeloop.generators.triton import TritonGenerator
from tests.generators.tiny import write_tiny
from tests.triton import Server


def test_serve_files_writes_what_its_options_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny, models = write_tiny(tmp_path / "a"), tmp_path / "models"
    options = ["--name", "faces", "--version", "3", "--instances", "2", "--no-cache", "--gpu"]
    assert console.run(serving.serve_files, "x", [str(tiny), str(models), *options]) == 0
    text = (models / "faces-synthesis" / "config.pbtxt").read_text()
    assert "kind: KIND_GPU count: 2" in text
    assert "response_cache { enable: false }" in text
    assert (models / "faces-synthesis" / "3" / "model.onnx").is_file()
    identity = manifest.read(tiny).identity
    told = f"written: {models}/faces-*, version 3, identity {identity}\n"
    assert capsys.readouterr().out == told


def test_serve_files_calls_it_by_its_own_name(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "a")
    console.run(serving.serve_files, "x", [str(tiny), str(tmp_path / "models")])
    assert (tmp_path / "models" / "tiny-mapping").is_dir()


def test_serve_files_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="there is no generator 'nothing'"):
        console.run(serving.serve_files, "x", ["nothing", str(tmp_path)])


@pytest.mark.triton
def test_serve_files_tells_a_running_server(tritonserver: Server, tmp_path: Path) -> None:
    for version in (1, 2):
        tiny = write_tiny(tmp_path / str(version), seed=version)
        options = ["--name", "told", "--version", str(version)]
        address = f"127.0.0.1:{tritonserver.ports.grpc}"
        words = [str(tiny), str(tritonserver.repository), *options, "--server", address]
        assert console.run(serving.serve_files, "x", words) == 0
        assert TritonGenerator(tritonserver.reference("told")).version == version


@pytest.mark.triton
def test_probe(tritonserver: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = tritonserver.serve(write_tiny(tmp_path / "tiny"), "probe")
    assert console.run(serving.probe, "x", [reference]) == 0
    assert re.fullmatch(
        r"ready: [0-9a-f]{64}, version 1, one image in \d+\.\d\d s\n", capsys.readouterr().out
    )
    with pytest.raises(GeneratorError, match=r"^--identity: "):
        console.run(serving.probe, "x", [reference, "--identity", "00ff"])


@pytest.mark.triton
def test_serve_until_it_is_told_to_stop(tmp_path: Path, triton_home: TritonInstallation) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    with _serving(tmp_path, triton_home, str(tiny)) as (process, reference):
        served = TritonGenerator(reference)
        latents = served.sample_latents(5, seed=3)
        images = served.synthesize(latents)
        np.testing.assert_array_equal(images, OnnxGenerator(tiny).synthesize(latents))
        memory = _memory(_models(process.pid))
        assert len(memory) == 2
        for model in _models(process.pid):  # the server itself would never notice
            os.kill(model, signal.SIGKILL)
        turned = latents[::-1].copy()  # not in the server's cache
        np.testing.assert_array_equal(served.synthesize(turned), images[::-1])
        process.terminate()
        assert process.wait(30) == 0
        assert not any(path.exists() for path in memory)
        with pytest.raises(UnavailableError, match="has given no answer"):
            TritonGenerator(reference, patience_seconds=0.0)


@pytest.mark.triton
def test_serve_ends_with_its_server(tmp_path: Path, triton_home: TritonInstallation) -> None:
    tiny = write_tiny(tmp_path / "tiny")
    with _serving(tmp_path, triton_home, str(tiny)) as (process, _):
        (child,) = server.model_processes(process.pid)
        os.kill(child, signal.SIGKILL)
        assert process.wait(30) == 2


PROGRAM = """
import sys
from cloud.generator_service import server, serving
from edgeloop.cli import console
from edgeloop.errors import InputError
try:
    sys.exit(console.run(serving.serve, "serve", sys.argv[1:]))
except InputError as error:
    sys.exit(2)
"""


@contextmanager
def _serving(
    folder: Path, home: TritonInstallation, generator: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `edgeloop generator serve` in a process of its own, until it says that it is ready."""
    ports = server.free_ports()
    options = ["--home", str(home.folder), "--log", str(folder / "log")]
    options += ["--http-port", str(ports.http), "--grpc-port", str(ports.grpc)]
    options += ["--metrics-port", str(ports.metrics)]
    command = [sys.executable, "-c", PROGRAM, generator, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("written: ")
        ready = process.stdout.readline().strip()
        assert ready == f"ready: triton://127.0.0.1:{ports.grpc}/tiny"
        yield process, ready.removeprefix("ready: ")
    finally:
        process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def _models(parent: int) -> list[int]:
    """Return the processes of the models that a `serve` runs."""
    return [
        model for child in server.model_processes(parent) for model in server.model_processes(child)
    ]


def _memory(models: list[int]) -> list[Path]:
    """Return the files of the memory that models share with their server."""
    words = [Path(f"/proc/{model}/cmdline").read_text().split("\0") for model in models]
    names = [word for each in words for word in each if word.startswith("edgeloop_")]
    files = [Path("/dev/shm") / name for name in names]  # noqa: S108 - where a server puts them
    assert all(path.exists() for path in files)
    return files
