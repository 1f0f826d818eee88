"""Serves a device's classifier over HTTP and MQTT, while it is exchanged; it needs no torch."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from edge.agent.folder import device_settings, hold_requests
from edge.agent.settings import DeviceSettings, ServeSettings
from edge.agent.store import MODEL
from edge.serving import http
from edge.serving.answers import Answering
from edge.serving.batching import Batching
from edge.serving.http import Server
from edge.serving.measured import Measured
from edge.serving.model_in_use import ModelInUse
from edgeloop.cli import console
from edgeloop.errors import BrokerError, ConfigError
from edgeloop.runtime import config as config_files
from edgeloop.runtime import logs

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run `edgeloop serve` with these arguments."""
    return console.run(serve, "serve", arguments)


def serve(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL.onnx", help="Model file that a device exported.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Path of a device's TOML file, instead of a model file."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the device, where many share one file.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port to listen on. [default: 8090]")
    ] = None,
    log_format: console.LogFormat = "plain",
) -> None:
    """Answer with a device's classifier, the one that is in use at each moment."""
    logs.configure(log_format)
    if (model is None) == (config is None):
        raise ConfigError("serve", "has no model, or two", "give MODEL.onnx, or --config FILE")
    if model is not None and model.is_dir():
        remedy = f"give {model / MODEL}, or --config FILE"
        raise ConfigError("MODEL.onnx", f"{model} is a folder", remedy)
    device = None if config is None else _read(config, name)
    chosen = ServeSettings() if device is None else device.serve
    changes = {"host": host, "port": port}
    given = {key: value for key, value in changes.items() if value is not None}
    settings = chosen.model_copy(update=given)
    path = model if device is None else device.folder / MODEL
    assert path is not None  # noqa: S101 - one of the two is there
    _serve(path, settings, device)


def _read(config: Path, name: str | None) -> DeviceSettings:
    device = config_files.read(config, DeviceSettings)
    if name is None:
        return device
    table = {**device.model_dump(exclude_unset=True), "name": name}
    return device_settings(config_files.parse(table, DeviceSettings, "--name"), name)


def _serve(path: Path, settings: ServeSettings, device: DeviceSettings | None) -> None:
    ended = threading.Event()
    with ExitStack() as stack:
        if device is not None and settings.mqtt:
            stack.enter_context(hold_requests(device.folder))
        models = stack.enter_context(ModelInUse(path))
        if models.problem:
            log.warning("waits for a classifier: %s", models.problem)
        answering = Answering(models, Measured(), Batching(settings.max_batch))
        server = Server(
            answering,
            (settings.host, settings.port),
            most_bytes=settings.max_megabytes << 20,
            at_once=settings.connections,
            token=_token(settings),
        )
        stack.enter_context(http.running(server))
        log.info("serves %s on http://%s:%d%s", path, *server.server_address[:2], http.PREDICT)
        if device is not None and settings.mqtt:
            stack.enter_context(_answered_by_mqtt(answering, settings, device, ended))
        ended.wait()


@contextmanager
def _answered_by_mqtt(
    answering: Answering, settings: ServeSettings, device: DeviceSettings, ended: threading.Event
) -> Iterator[None]:
    """Answer by MQTT from a thread of its own; HTTP goes on without it."""
    from edge.serving.mqtt import Responder
    from edgeloop.mqtt.connection import MqttConnection
    from edgeloop.protocol.task import client_id, predict_topic, server_topic

    topic = predict_topic(device.task, device.name)
    answering.measured.say_connected(False)
    connection = MqttConnection(
        settings.broker or device.broker,
        f"{client_id(device.task, device.name)}.predict",
        [topic],
        server_topic(device.task, device.name),
        answering.measured.say_connected,
        retry_forever=True,
        persistent=False,  # a request that waited is nobody's any more
    )

    def answer() -> None:
        try:
            with connection:
                log.info("answers on %s", connection.full(topic))
                Responder(answering, connection, settings.max_megabytes << 20).run(ended)
        except BrokerError as error:
            log.warning("requests by MQTT are not answered: %s", error)

    thread = threading.Thread(target=answer, name="mqtt", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        if connection.connected:
            thread.join()


def _token(settings: ServeSettings) -> str | None:
    if settings.token_file is None:
        return None
    try:
        token = settings.token_file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        problem = f"{settings.token_file} cannot be read ({error})"
        raise ConfigError("serve.token_file", problem, "name a file with a token") from error
    if not token:
        raise ConfigError("serve.token_file", "has no token", "write one into it")
    return token
