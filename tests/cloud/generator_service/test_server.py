import os
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cloud.generator_service import repository, server
from cloud.generator_service.server import TritonInstallation
from cloud.generator_service.settings import Serving
from edgeloop.errors import GeneratorError, TakenError
from edgeloop.generators.triton import TritonGenerator
from tests import triton
from tests.generators.tiny import write_tiny


def _program(folder: Path, text: str) -> TritonInstallation:
    """Make a home as in NVIDIA's image, with a program of ours as its server."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "tritonserver"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return TritonInstallation(folder)


def test_no_server_there(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError) as caught:
        server.find_installation(tmp_path)
    assert caught.value.field == "home"
    assert caught.value.problem == f"there is no tritonserver in {tmp_path}"
    assert caught.value.remedy.startswith("run tools/triton.sh")


def test_where_it_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("EDGELOOP_TRITON", "")
    cached = _program(tmp_path / "edgeloop" / "triton", "")
    assert server.find_installation() == cached
    chosen = _program(tmp_path / "chosen", "")
    monkeypatch.setenv("EDGELOOP_TRITON", str(chosen.folder))
    assert server.find_installation() == chosen
    assert server.find_installation(cached.folder) == cached


def test_the_best_backend_there_is(tmp_path: Path) -> None:
    found = _program(tmp_path, "")
    assert str(found.backend) == "python"
    (tmp_path / "backends" / "onnxruntime").mkdir(parents=True)
    assert str(found.backend) == "onnxruntime"


def test_a_server_that_dies_tells_why(tmp_path: Path) -> None:
    found = _program(tmp_path / "home", "echo all well; echo 'E1 no models'; echo bye; exit 1")
    log = tmp_path / "log"
    with (
        pytest.raises(GeneratorError) as caught,
        server.running(tmp_path, found, server.free_ports(), log),
    ):
        pass
    assert str(caught.value) == f"tritonserver: has stopped: E1 no models; see {log}"


def test_a_server_that_is_never_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "START_SECONDS", 5.0)
    found = _program(tmp_path / "home", "echo loading; exec sleep 60")
    with (
        pytest.raises(GeneratorError, match=r"is not ready after 5 s: loading; see "),
        server.running(tmp_path, found, server.free_ports(), tmp_path / "log"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_root_serves_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "START_SECONDS", 5.0)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        place.chmod(0o755)
        found, log = _program(place / "home", "id -un; exec sleep 60"), place / "log"
        with (
            pytest.raises(GeneratorError, match="is not ready"),
            server.running(place / "home", found, server.free_ports(), log),
        ):
            pass
        assert log.read_text() == "nobody\n"
        place.chmod(0o700)
        assert server.unprivileged_user(place / "home") == ""


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    found, ports = _program(tmp_path / "home", "exec sleep 60"), server.free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports.grpc))
        other.listen()
        with (
            pytest.raises(TakenError, match=rf"^--grpc-port: 127.0.0.1:{ports.grpc} cannot be"),
            server.running(tmp_path, found, ports, tmp_path / "log"),
        ):
            pass


def test_its_models_end_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "START_SECONDS", 5.0)
    child = tmp_path / "child"
    found = _program(tmp_path / "home", f"sleep 60 & echo $! > {child}; exec sleep 60")
    with (
        pytest.raises(GeneratorError),
        server.running(tmp_path, found, server.free_ports(), tmp_path / "log"),
    ):
        pass
    deadline = time.monotonic() + 10.0
    while not _dead(child.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _dead(child.read_text().strip())


def _dead(process: str) -> bool:
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.triton
def test_a_model_of_another_file_is_not_served(
    tmp_path: Path, triton_home: TritonInstallation
) -> None:
    models = tmp_path / "models"
    repository.write(write_tiny(tmp_path / "tiny"), models, "tiny")
    other = write_tiny(tmp_path / "other", seed=1)
    (models / "tiny-synthesis" / "1" / "model.onnx").write_bytes(
        (other / "synthesis.onnx").read_bytes()
    )
    with (
        pytest.raises(GeneratorError, match=r"is not the file that config.pbtxt names for version"),
        triton.running(tmp_path, triton_home),
    ):
        pass


@pytest.mark.triton
def test_a_server_without_the_backend_says_so(
    tmp_path: Path, triton_home: TritonInstallation
) -> None:
    if triton_home.backend == "onnxruntime":
        pytest.skip("this server has the onnxruntime backend")
    tiny = write_tiny(tmp_path / "tiny", classes=3)
    serving = Serving(backend="onnxruntime")
    repository.write(tiny, tmp_path / "models", "tiny", serving=serving)
    with (
        pytest.raises(GeneratorError, match=r"backend.*onnxruntime"),
        triton.running(tmp_path, triton_home),
    ):
        pass


@pytest.mark.triton
def test_numpy_2_is_refused_before_it_corrupts_anything(
    tmp_path: Path, triton_home: TritonInstallation
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    installed = (triton_home.folder / "installed").read_text()
    if f"python{sys.version_info[0]}.{sys.version_info[1]}" not in installed:
        pytest.skip("this Python is not the one that the server's models run with")
    for name in ("vend", "lib", "installed"):
        (home / name).symlink_to(triton_home.folder / name)
    (home / "stub").symlink_to(sys.prefix)  # the tests' own packages: numpy 2
    repository.write(write_tiny(tmp_path / "tiny"), tmp_path / "models", "tiny")
    with (
        pytest.raises(GeneratorError, match=r"has numpy 2.*install numpy<2 there"),
        triton.running(tmp_path, TritonInstallation(home)),
    ):
        pass


@pytest.mark.triton
def test_killed_and_started_again_nothing_is_lost(
    tmp_path: Path, triton_home: TritonInstallation
) -> None:
    heard: list[str | None] = []
    ports = server.free_ports()
    repository.write(write_tiny(tmp_path / "tiny"), tmp_path / "models", "tiny")
    with triton.running(tmp_path, triton_home, ports) as first:
        generator = TritonGenerator(first.reference("tiny"), watch=heard.append)
        latents = generator.sample_latents(5, seed=3)
        images = generator.synthesize(latents)
        first.process.kill()
        first.process.wait()
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(generator.synthesize, latents)
            while not heard:
                time.sleep(0.01)
            with triton.running(tmp_path, triton_home, ports):
                np.testing.assert_array_equal(waiting.result(), images)
    assert heard[0] is not None
    assert heard[-1] is None
