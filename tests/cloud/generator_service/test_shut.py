"""A tritonserver obeys whoever knows its secret, and answers everybody's requests for images."""

import json
import stat
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from cloud.operator.triton import Triton, UnavailableError
from edgeloop.errors import ConfigError, GeneratorError
from edgeloop.generators import control, triton
from edgeloop.generators.triton import TritonGenerator
from tests.generators.tiny import write_tiny
from tests.triton import Server

MODEL = "shut-synthesis"

HTTP = [
    ("POST", f"/v2/repository/models/{MODEL}/load"),
    ("POST", f"/v2/repository/models/{MODEL}/unload"),
    ("POST", "/v2/repository/index"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("POST", "/v2/systemsharedmemory/region/x/register"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("GET", "/v2/models/stats"),
    ("GET", "/v2/trace/setting"),
    ("POST", "/v2/trace/setting"),
    ("GET", "/v2/logging"),
    ("POST", "/v2/logging"),
]
GRPC: list[Callable[[InferenceServerClient, dict[str, str]], Any]] = [
    lambda client, headers: client.load_model(MODEL, headers),
    lambda client, headers: client.unload_model(MODEL, headers),
    lambda client, headers: client.get_model_repository_index(headers),
    lambda client, headers: client.get_system_shared_memory_status(headers=headers),
    lambda client, headers: client.register_system_shared_memory("x", "/y", 1, headers=headers),
    lambda client, headers: client.get_inference_statistics(headers=headers),
    lambda client, headers: client.get_trace_settings(headers=headers),
    lambda client, headers: client.update_log_settings({"log_verbose_level": 1}, headers),
]
WRONG = [{}, {control.HEADER: "wrong"}, {control.HEADER: ""}]


def http(server: Server, method: str, path: str, headers: dict[str, str]) -> int:
    """Return the code of an answer."""
    connection = HTTPConnection("127.0.0.1", server.ports.http, timeout=30)
    try:
        connection.request(method, path, json.dumps({}), headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def shut(tritonserver: Server, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """A server with one generator, which it has taken up with its secret."""
    tritonserver.serve(write_tiny(tmp_path_factory.mktemp("shut") / "tiny"), "shut")
    return tritonserver


@pytest.mark.triton
@pytest.mark.parametrize("headers", WRONG)
@pytest.mark.parametrize(("method", "path"), HTTP)
def test_a_stranger_is_refused_over_http(
    shut: Server, method: str, path: str, headers: dict[str, str]
) -> None:
    assert http(shut, method, path, headers) in (400, 401, 403)
    assert http(shut, "GET", f"/v2/models/{MODEL}/ready", {}) == 200


@pytest.mark.triton
@pytest.mark.parametrize("secret", [None, "wrong"])
@pytest.mark.parametrize("number", range(len(GRPC)))
def test_a_stranger_is_refused_over_grpc(shut: Server, number: int, secret: str | None) -> None:
    client = InferenceServerClient(f"127.0.0.1:{shut.ports.grpc}")
    with pytest.raises(InferenceServerException, match="restricted"):
        GRPC[number](client, control.headers(secret))
    assert client.is_model_ready(MODEL)


@pytest.mark.triton
def test_who_knows_the_secret_controls_it(shut: Server) -> None:
    headers = {control.HEADER: str(control.read_secret(shut.secret))}
    assert http(shut, "POST", "/v2/repository/index", headers) == 200
    assert http(shut, "POST", f"/v2/repository/models/{MODEL}/load", headers) == 200


@pytest.mark.triton
def test_a_client_needs_no_secret(shut: Server) -> None:
    served = TritonGenerator(shut.reference("shut"))
    assert served.synthesize(served.sample_latents(2, seed=1)).shape[0] == 2


@pytest.mark.triton
def test_what_must_take_up_models_says_that_it_lacks_the_secret(
    shut: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = shut.reference("shut")
    identity = TritonGenerator(place).identity
    with pytest.raises(GeneratorError, match=f"restricted.*{control.VARIABLE} names the file"):
        triton.load_version(place, 1, identity)
    operators = Triton(f"127.0.0.1:{shut.ports.grpc}", 5.0)
    with pytest.raises(UnavailableError, match="restricted"):
        operators.served("shut")
    monkeypatch.setenv(control.VARIABLE, str(shut.secret))
    triton.load_version(place, 1, identity)
    assert operators.served("shut") == {1: identity}


def test_a_secret_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    secret = control.read_or_create_secret(path)
    assert len(secret) == 64
    assert control.read_or_create_secret(path) == control.read_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert control.read_or_create_secret(tmp_path / "other") != secret


@pytest.mark.parametrize("text", ["", "a b", "a,b", "ä", "a=b"])
def test_a_file_without_a_secret(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(ConfigError, match="holds no secret"):
        control.read_or_create_secret(path)
    with pytest.raises(ConfigError, match="holds no secret"):
        control.read_secret(tmp_path / "none")
