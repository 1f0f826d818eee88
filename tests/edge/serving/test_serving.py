"""`edgeloop serve`: what it answers and refuses; ten exchanges under load without a loss."""

# Over 320 lines: one suite for what answers over HTTP and over MQTT.

import base64
import io
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from edge.agent import picture_form, predict
from edge.agent.deployment import Deployment
from edge.agent.export import Classifier, export
from edge.agent.predict import open_model
from edge.serving.answers import Answering
from edge.serving.measured import Measured
from edge.serving.model_in_use import ModelInUse
from edge.serving.mqtt import ANOTHER, STATUS
from edgeloop.models import build
from edgeloop.protocol.task import predict_topic
from edgeloop.runtime import pictures
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import free_port
from tests.devices import wait_until
from tests.edge.predictors import by_head
from tests.mqtt_requests import Requester
from tests.processes import running

SHAPE = (3, 16, 16)
NAMES = ("ant", "bee", "cat")
SERVE = """
import sys
from importlib.metadata import EntryPoint
from edgeloop.cli import main, stopping
point = EntryPoint("serve", "edge.serving.command:main", main.GROUP)
with stopping.terminable():
    sys.exit(main._run(point, ["serve", *sys.argv[1:]]))
"""
"""The command, whatever is installed."""

LOAD, SWAPS = 4, 10

HALF = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"


def write(path: Path, seed: int, shape: tuple[int, ...] = SHAPE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = build("cnn-strided3", shape, 3, width=16, seed=seed)
    with torch.no_grad():
        model.head.bias[seed % 3] += 5
    facts = {"task": "t", "run": "r", "round": str(seed), "licence": "CC0-1.0"}
    classifier = Classifier(model, by_head, pixels=True)
    export(classifier, path, shape=shape, class_names=NAMES, pixels=True, facts=facts)
    return path


@dataclass(frozen=True)
class Served:
    url: str
    folder: Path
    process: "subprocess.Popen[str]"
    log: Path

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    def said(self) -> str:
        return self.log.read_text()

    def ask(self, body: bytes, kind: str = "application/octet-stream") -> httpx.Response:
        url = f"{self.url}/v1/predict?all=true"
        return httpx.post(url, content=body, headers={"Content-Type": kind})

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def served(
    folder: Path, *more: str, table: str = "", broker: BrokerSettings | None = None
) -> Iterator[Served]:
    """Run the command on a device's folder."""
    port = free_port()
    config, log = (folder.with_name(f"{port}.{end}") for end in ("toml", "log"))
    connect = "" if broker is None else f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    config.write_text(
        f'name = "one"\ntask = "t"\nfolder = "{folder}"\n{connect}[data]\nsource = "none"\n'
        f"[serve]\nport = {port}\n{table}\n"
    )
    words = [sys.executable, "-c", SERVE, "--config", str(config), *more]
    with log.open("w") as file, running(words, stderr=file) as process:
        yield Served(f"http://127.0.0.1:{port}", folder, process, log)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served") / "device"
    write(folder / "model.onnx", 1)
    with served(folder, table="max_megabytes = 1") as found:
        wait_until(found.ready)
        yield found


def picture(seed: int = 0, side: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, 30, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def read(data: bytes) -> Any:
    return pictures.decode(data, "x", channels=3, size=SHAPE[1:])


def test_a_picture_an_array_and_json_have_one_answer(one: Served) -> None:
    data = picture()
    pixels, model = read(data), open_model(one.model)
    (scores,) = model.scores(pixels[None].astype(np.float32)).tolist()
    forms = [
        (data, "image/png"),
        (npy(pixels), "application/octet-stream"),
        (npy(pixels[None]), "application/x-npy"),
        (json.dumps({"instances": [pixels.tolist()]}).encode(), "application/json; charset=utf-8"),
        (json.dumps([{"b64": base64.b64encode(data).decode()}]).encode(), ""),
    ]
    for body, kind in forms:
        answer = one.ask(body, kind)
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["predictions"]
        assert found["scores"] == pytest.approx(scores, abs=1e-5)
        assert (found["label"], found["class"]) == ("bee", 1)
        assert found["probability"] == found["probabilities"][1]
        assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert answer.json()["model"]["round"] == "1"


def test_without_asking_for_all_it_is_short(one: Served) -> None:
    (found,) = httpx.post(f"{one.url}/v1/predict", content=picture()).json()["predictions"]
    assert found.keys() == {"label", "class", "probability"}


def test_the_short_answer_says_what_the_long_one_does(one: Served) -> None:
    """Also where NumPy makes it, and not Python: 60 inputs have more than `FEW` scores."""
    batch = np.stack([read(picture(seed)) for seed in range(60)])
    for body in (npy(batch[:1]), npy(batch)):
        long = one.ask(body).json()["predictions"]
        short = httpx.post(f"{one.url}/v1/predict", content=body).json()["predictions"]
        assert [each["class"] for each in short] == [each["class"] for each in long]
        for mine, theirs in zip(short, long, strict=True):
            assert mine["label"] == theirs["label"]
            assert mine["probability"] == pytest.approx(theirs["probability"], abs=2e-6)


@pytest.mark.parametrize("scores", [[np.nan, 1, 2], [1, np.nan, 2], [np.inf, 1, 2], [-np.inf] * 3])
@pytest.mark.parametrize("count", [1, 60])
def test_scores_that_are_none_are_a_failure(
    tmp_path: Path, scores: list[float], count: int
) -> None:
    with ModelInUse(write(tmp_path / "model.onnx", 1)) as models:
        assert models.now is not None
        wrong = replace(models.now.model, session=Fixed(scores))
        models._serving = replace(models.now, model=wrong, is_batched=False)
        answer = Answering(models, Measured()).answer(npy(np.zeros((count, *SHAPE))), "", "http")
    assert (answer.status, b"no numbers" in answer.body) == (500, True)


class Fixed:
    """Stands where onnxruntime's session does: each input has the same scores."""

    def __init__(self, scores: list[float]) -> None:
        self._scores = np.array(scores, np.float32)

    def run(self, _: Any, feed: dict[str, Any]) -> list[Any]:
        return [np.tile(self._scores, (len(feed["images"]), 1))]

    def get_modelmeta(self) -> Any:
        return SimpleNamespace(custom_metadata_map={})


def test_a_model_of_whole_pictures_takes_a_camera_s_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", 1)
    path.write_bytes(picture_form.of_pictures(onnx.load(path), {}))
    frames = np.random.default_rng(0).integers(0, 256, (3, 240, 320, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(frames[0]).save(buffer, "PNG")
    png = buffer.getvalue()
    in_json = json.dumps([{"b64": base64.b64encode(png).decode()}]).encode()
    wanted = open_model(path).scores(list(frames))
    with served(tmp_path / "device") as found:
        shutil.copy(path, write(tmp_path / "device" / "model.onnx", 2))
        wait_until(found.ready)
        wait_until(lambda: _model(found, {})["picture"])
        for body in (npy(frames[0]), npy(frames[0]), png, in_json, npy(frames)):  # large, and kept
            answer = found.ask(body).json()["predictions"]
            scores = [each["scores"] for each in answer]
            assert np.allclose(scores, wanted[: len(scores)], atol=1e-4)
            assert len(answer) == (3 if body == npy(frames) else 1)
        for body in (npy(frames[0].astype(np.float32)), npy(frames[0, :, :, :2]), npy(frames[:0])):
            assert found.ask(body).status_code == 400
        assert found.ask(b'{"instances": [[1]]}', "application/json").status_code == 400
    (said,) = predict.classify(open_model(path), [_file(tmp_path / "a.png", png)])
    assert np.allclose(said.scores, wanted[0], atol=1e-4)


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_batch_is_answered_in_its_order(one: Served) -> None:
    batch = np.stack([read(picture(seed)) for seed in range(5)])
    wanted = open_model(one.model).scores(batch.astype(np.float32))
    found = [each["scores"] for each in one.ask(npy(batch)).json()["predictions"]]
    assert np.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"", "", "is empty"),
        (b"no picture", "image/png", "not a PNG"),
        (b"{", "application/json", "is no JSON"),
        (b"[" * 100_000, "application/json", "is no JSON"),
        (b'{"instances": 3}', "application/json", "is no list of inputs"),
        (b'{"instances": []}', "application/json", "is no list of inputs"),
        (b'{"instances": [[1, "a"]]}', "application/json", "is no array of numbers"),
        (b'{"instances": [{"b64": "?"}]}', "application/json", "has no b64"),
        (b'{"instances": [[[1]]]}', "application/json", "the model takes"),
        (npy(np.zeros((2, 2))), "", "the model takes"),
        (npy(np.full(SHAPE, 256.0)), "", "outside 0 to 255"),
        (npy(np.full(SHAPE, np.nan)), "", "not finite"),
        (npy(np.zeros((0, *SHAPE))), "", "has no input"),
        (npy(np.zeros((1025, *SHAPE), np.uint8)), "", "1024 are the most"),
        (npy(np.array([{}], object)), "", "something else than numbers"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(
    one: Served, body: bytes, kind: str, says: str
) -> None:
    answer = one.ask(body, kind)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert one.ask(picture()).status_code == 200


def test_other_requests_are_refused_by_name(one: Served) -> None:
    assert httpx.get(f"{one.url}/v1/predict").status_code == 405
    assert httpx.post(f"{one.url}/v2", content=b"").status_code == 404
    assert httpx.get(f"{one.url}/else").status_code == 404
    assert one.ask(bytes((1 << 20) + 1)).status_code == 413
    chunked = httpx.post(f"{one.url}/v1/predict", content=iter([b"a", b"b"]))
    assert chunked.status_code == 411
    assert httpx.get(f"{one.url}/healthz").json() == {"alive": True}
    model = httpx.get(f"{one.url}/v1/model").json()
    assert (model["class_names"], model["licence"]) == (list(NAMES), "CC0-1.0")


def test_a_client_that_says_half_costs_nothing(one: Served) -> None:
    with socket.create_connection(("127.0.0.1", int(one.url.rpartition(":")[2]))) as half:
        half.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert one.ask(picture()).status_code == 200


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"PUT /v1/predict HTTP/1.1", 501),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", 414),
        (b"\0\0\0", 400),
        (b"GET /healthz HTTP/1.1\r\n" + b"\r\n".join(b"x%d: y" % n for n in range(200)), 431),
    ],
)
def test_what_is_no_request_is_refused_in_the_same_form(
    one: Served, line: bytes, code: int
) -> None:
    host, port = one.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(line + b"\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % code)
    assert b"Python" not in head
    assert json.loads(body)["error"]


def test_who_sends_too_much_reads_that_it_was_too_much(one: Served) -> None:
    """Before it has sent all of it: the answer must not be lost with what nobody reads."""
    answer = one.ask(b"\0" * (17 << 20))
    assert answer.status_code == 413
    assert "1048576 bytes are the most" in answer.json()["error"]


def test_who_says_little_by_little_keeps_nobody_out(tmp_path: Path) -> None:
    write(tmp_path / "device" / "model.onnx", 1)
    with served(tmp_path / "device", table="connections = 3") as found, ExitStack() as stack:
        wait_until(found.ready)
        host, port = found.url.removeprefix("http://").split(":")
        for part in (b"", b"POST /v1/predict HTTP/1.1\r\n", HALF) * 3:
            silent = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            silent.sendall(part)
        assert found.ask(picture()).status_code == 200


def test_metrics_count_what_was_answered(one: Served) -> None:
    def counted() -> float:
        lines = httpx.get(f"{one.url}/metrics").text.splitlines()
        name = 'edgeloop_serve_requests_total{by="http",status="200"} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = counted()
    one.ask(picture())
    wait_until(lambda: counted() == before + 1)
    text = httpx.get(f"{one.url}/metrics").text
    assert "edgeloop_serve_model_info{" in text
    assert "edgeloop_model_rollbacks 0" in text


def test_it_waits_for_a_model_and_keeps_a_good_one(tmp_path: Path) -> None:
    folder = tmp_path / "device"
    folder.mkdir()
    table = f"token_file = '{tmp_path / 'token'}'"
    with served(folder, table=table) as without:
        assert without.process.wait(30) == 2
    (tmp_path / "token").write_text("secret\n")
    bearer = {"Authorization": "Bearer secret"}
    with served(folder, table=table) as found:
        wait_until(lambda: _status(f"{found.url}/readyz") == 503)
        assert found.ask(picture()).status_code == 401
        url = f"{found.url}/v1/predict"
        assert httpx.post(url, content=picture(), headers=bearer).status_code == 503
        write(folder / "model.onnx", 1)
        wait_until(found.ready)
        (folder / "model.onnx").write_bytes(b"broken")
        wait_until(lambda: "is no ONNX model" in _model(found, bearer)["problem"])
        assert httpx.post(url, content=picture(), headers=bearer).status_code == 200
        assert "edgeloop_serve_refused_models_total 1" in httpx.get(f"{found.url}/metrics").text


def _model(found: Served, headers: dict[str, str]) -> dict[str, Any]:
    model: dict[str, Any] = httpx.get(f"{found.url}/v1/model", headers=headers).json()
    return model


def _status(url: str) -> int:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return 0


class Client(threading.Thread):
    """Asks without a pause until it is told to end.

    Attributes:
        seen: rounds of the models that have answered.
        failures: what went wrong.
    """

    def __init__(self, url: str, ended: threading.Event) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.failures: list[str] = []
        self._url, self._ended = url, ended

    def run(self) -> None:
        with httpx.Client() as client:
            while not self._ended.is_set():
                try:
                    self._take(client.post(self._url, content=picture()).json())
                except (httpx.HTTPError, KeyError, ValueError) as error:
                    self.failures.append(repr(error))

    def _take(self, body: dict[str, Any]) -> None:
        """Note an answer; a model of round N says class N mod 3, whatever it is asked."""
        number = body["model"]["round"]
        if body["predictions"][0]["label"] != NAMES[int(number) % 3]:
            self.failures.append(f"round {number} says {body}")
        self.seen.add(number)


def test_ten_exchanges_under_load_lose_no_request(tmp_path: Path) -> None:
    folder, ended = tmp_path / "device", threading.Event()
    models = [write(tmp_path / f"{seed}.onnx", seed) for seed in range(SWAPS + 1)]
    folder.mkdir()
    deployment = Deployment(folder)
    with served(folder) as found:
        clients = [Client(f"{found.url}/v1/predict", ended) for _ in range(LOAD)]

        def all_have_seen(number: str) -> bool:
            return all(number in each.seen for each in clients)

        try:
            for number, path in enumerate(models):
                deployment.candidate.write_bytes(path.read_bytes())
                deployment.put(deployment.candidate)
                if not number:
                    wait_until(found.ready)
                    for each in clients:
                        each.start()
                wait_until(partial(all_have_seen, str(number)))
        finally:
            ended.set()
            for each in clients:
                if each.is_alive():
                    each.join()
        text = httpx.get(f"{found.url}/metrics").text
    assert [each.failures for each in clients] == [[]] * LOAD
    assert f"edgeloop_serve_swaps_total {SWAPS}" in text


@pytest.mark.broker
def test_a_request_by_mqtt_is_answered_where_it_asks(
    broker: BrokerSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "device"
    write(folder / "model.onnx", 2)
    topic = predict_topic("t", "one")
    with (
        served(folder, table="mqtt = true", broker=broker) as found,
        Requester(broker, "answers/me") as requester,
    ):
        wait_until(found.ready)
        wait_until(lambda: requester.hears(topic))
        for body, status in (
            (picture(), "200"),
            (npy(np.zeros((1, *SHAPE))), "200"),
            (b"x", "400"),
        ):
            answer = requester.ask(topic, body, correlation=b"\0id")
            assert answer.correlation == b"\0id"
            assert answer.notes[STATUS] == status
            found_ = json.loads(answer.payload)
            assert ("error" in found_) == (status == "400")
            if status == "200":
                assert found_["predictions"][0]["label"] == "cat"
        requester.publish(topic, picture(), None)  # nobody to answer
        assert requester.ask(topic, picture(), correlation=None).correlation is None
        metrics = httpx.get(f"{found.url}/metrics").text
        assert 'edgeloop_serve_requests_total{by="mqtt",status="200"} 3' in metrics


@pytest.mark.broker
def test_a_second_server_of_a_folder_is_refused(broker: BrokerSettings, tmp_path: Path) -> None:
    """By MQTT; by HTTP alone each has a port of its own."""
    folder = tmp_path / "device"
    write(folder / "model.onnx", 2)
    with served(folder, table="mqtt = true", broker=broker) as first:
        wait_until(first.ready)
        with served(folder, table="mqtt = true", broker=broker) as second:
            assert second.process.wait(60) == 73
        said = second.said()
        assert f"folder {folder}: another edgeloop serve answers this device's requests" in said
        assert "or set mqtt = false in [serve] for this one" in said
        assert "Traceback" not in said
        with served(folder) as plain:
            wait_until(plain.ready)
            assert "edgeloop_serve_mqtt" not in httpx.get(f"{plain.url}/metrics").text


def connected(found: Served) -> bool:
    return "edgeloop_serve_mqtt_connected 1" in httpx.get(f"{found.url}/metrics").text


@pytest.mark.broker
def test_two_servers_of_one_name_tell_of_each_other(broker: BrokerSettings, tmp_path: Path) -> None:
    """Neither ends, the last to connect answers, and each says so; one of them is enough."""
    topic, table = predict_topic("t", "one"), "mqtt = true"
    here, there = (tmp_path / name / "device" for name in ("here", "there"))
    for seed, folder in enumerate((here, there)):
        write(folder / "model.onnx", seed)
    with (
        served(here, table=table, broker=broker) as first,
        Requester(broker, "answers/me") as requester,
    ):
        wait_until(first.ready)
        wait_until(lambda: connected(first))
        with served(there, table=table, broker=broker) as second:
            wait_until(second.ready)
            for each in (first, second):
                wait_until(lambda each=each: ANOTHER in each.said(), 30)  # type: ignore[misc]
            assert [each.process.poll() for each in (first, second)] == [None, None]
            assert all(each.ask(picture()).status_code == 200 for each in (first, second))
            assert (
                "edgeloop_serve_mqtt_taken_over_total 0"
                not in httpx.get(f"{first.url}/metrics").text
            )
        wait_until(lambda: requester.hears(topic), 30)
        answer = json.loads(requester.ask(topic, picture(), correlation=b"1").payload)
        assert answer["predictions"][0]["label"] == NAMES[0]


def test_it_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    lean = (
        "import sys\nclass Lean:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'onnx', 'fastapi', 'uvicorn'}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Lean())\n"
    )
    port = free_port()
    model = write(tmp_path / "model.onnx", 0)
    words = [sys.executable, "-c", lean + SERVE, str(model), "--port", str(port)]
    with running(words, stderr=subprocess.DEVNULL) as process:
        found = Served(f"http://127.0.0.1:{port}", tmp_path, process, tmp_path)
        wait_until(found.ready)
        assert found.ask(picture()).json()["predictions"][0]["label"] == "ant"
        process.terminate()
        assert process.wait(30) == 0


def test_a_wrong_command_line_is_one_sentence(tmp_path: Path) -> None:
    for words in ([], [str(tmp_path / "a.onnx"), "--config", str(tmp_path / "b.toml")]):
        command = [sys.executable, "-c", SERVE, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert "give MODEL.onnx, or --config FILE" in done.stderr
        assert "Traceback" not in done.stderr
