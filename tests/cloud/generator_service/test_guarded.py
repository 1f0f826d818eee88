"""A Triton behind TLS that knows its clients, and that wants a header even for images."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.generator_service import repository, server
from cloud.operator.triton import Triton, UnavailableError
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.generators import channel, control
from edgeloop.generators.triton import TritonGenerator
from tests import triton
from tests.authority import Authority
from tests.generators.tiny import write_tiny

TOKEN, SECRET = "a1b2", "c3d4"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A server's certificate, a client's, and one that another authority has signed."""
    folder = tmp_path_factory.mktemp("authority")
    ours, others = Authority(folder / "ours"), Authority(folder / "others")
    served, client = ours.sign("server", "localhost"), ours.sign("client")
    foreign = others.sign("foreign")
    (folder / "headers").write_text(f"triton-grpc-protocol-token: {TOKEN}\n")
    pairs = {"server": served, "client": client, "foreign": foreign}
    named = {
        f"{name}.{part}": path
        for name, pair in pairs.items()
        for part, path in zip(("crt", "key"), pair, strict=True)
    }
    return {**named, "ca": ours.file, "headers": folder / "headers"}


@pytest.fixture(scope="module")
def place(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server's HOST:PORT, with one generator."""
    folder, found, ports = tmp_path_factory.mktemp("guarded"), triton.home(), server.free_ports()
    models = folder / "models"
    models.mkdir()
    repository.write(write_tiny(folder / "tiny"), models, "tiny", version=1)
    shut = [
        "--grpc-use-ssl=true",
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={files['server.crt']}",
        f"--grpc-server-key={files['server.key']}",
        f"--grpc-root-cert={files['ca']}",
        f"--grpc-restricted-protocol=inference:token={TOKEN}",
    ]
    line = server.command(found, models, "127.0.0.1", ports, "edgeloop_guarded_", SECRET)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*line, *shut], env=found.environment, stdout=log, stderr=log)
    try:
        server._wait(process, f"http://127.0.0.1:{ports.http}/v2/health/ready", folder / "log")
        yield f"localhost:{ports.grpc}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def known(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client that may ask for images is told."""
    monkeypatch.setenv(channel.CA, str(files["ca"]))
    monkeypatch.setenv(channel.CERTIFICATE, str(files["client.crt"]))
    monkeypatch.setenv(channel.KEY, str(files["client.key"]))
    monkeypatch.setenv(channel.HEADERS, str(files["headers"]))


def images(place: str) -> int:
    served = TritonGenerator(f"triton://{place}/tiny", patience_seconds=1.0)
    return len(served.synthesize(served.sample_latents(2, seed=1)))


@pytest.mark.triton
def test_who_shows_what_is_wanted_has_images(place: str, known: None) -> None:
    assert images(place) == 2


@pytest.mark.triton
def test_the_operator_controls_it(
    place: str, known: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match="restricted"):
        Triton(place, 5.0).served("tiny")
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv(control.VARIABLE, str(tmp_path / "secret"))
    assert set(Triton(place, 5.0).served("tiny")) == {1}


@pytest.mark.triton
@pytest.mark.parametrize("lacks", ["headers", "certificate", "trust", "all"])
def test_who_does_not_has_none(
    place: str, known: None, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    if lacks in ("headers", "all"):
        monkeypatch.delenv(channel.HEADERS)
    if lacks == "certificate":
        monkeypatch.setenv(channel.CERTIFICATE, str(files["foreign.crt"]))
        monkeypatch.setenv(channel.KEY, str(files["foreign.key"]))
    if lacks == "trust":
        monkeypatch.setenv(channel.CA, str(files["foreign.crt"]))
    if lacks == "all":
        for name in (channel.CA, channel.CERTIFICATE, channel.KEY):
            monkeypatch.delenv(name)
    with pytest.raises(EdgeloopError):
        images(place)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({channel.CA: "/none"}, "/none cannot be read"),
        ({channel.CERTIFICATE: __file__}, "is not set, and the other one is"),
        ({channel.CERTIFICATE: __file__, channel.KEY: __file__}, "say whom to trust"),
        ({channel.HEADERS: "/none"}, "/none cannot be read"),
        ({channel.HEADERS: __file__}, "holds no headers"),
    ],
)
def test_what_the_environment_says_wrong(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        channel.connect("127.0.0.1:1")
