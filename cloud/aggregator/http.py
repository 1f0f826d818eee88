"""What an aggregator tells over HTTP: its metrics, its health and how far it is."""

import errno
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from cloud.aggregator.connections import LimitedH11Protocol
from cloud.aggregator.ledger import PastRound
from cloud.aggregator.metrics import Metrics, Phase
from cloud.aggregator.waiting import DeviceStatus, OddUpload
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.runtime.ports import listen_error

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_PORT_ERRORS = {errno.EADDRINUSE: "is in use", errno.EACCES: "may not be used by this user"}


class Status(BaseModel):
    """How far a run is.

    Attributes:
        task: its name.
        run: its identity.
        algorithm: its name.
        phase: what the aggregator is doing.
        round: the open one, from 0; equal to `rounds` when all are closed.
        rounds: how many there are.
        accuracy: of the last evaluation, weighted by test samples; None before the first.
        epsilon: the most that a device's answers have spent of its privacy budget, as it says;
            None without privacy, or before an answer.
        history: the closed rounds.
        broker_connected: whether the MQTT broker is reached.
        broker_refusals: what the broker refuses to take or to send, and why; /readyz tells it.
        generator_problem: why the generator makes no image now; None if it does, or none is asked.
        ignored_fields: of newer versions in devices' answers, since the start; see the log.
        ledger_open: whether the ledger takes uploads.
        devices: the run's, those that the open round waits for first.
        devices_left_out: how many more there are.
        shortage: why the open round cannot have the answers that it needs; /readyz tells it.
        outliers: parts of the last closed round's uploads that are far from the cohort's.
    """

    model_config = ConfigDict(frozen=True)

    task: str
    run: str
    algorithm: str
    phase: Phase
    round: int
    rounds: int
    accuracy: float | None
    epsilon: float | None = None
    history: tuple[PastRound, ...]
    broker_connected: bool
    broker_refusals: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    generator_problem: str | None
    ignored_fields: int = 0
    ledger_open: bool
    devices: tuple[DeviceStatus, ...] = ()
    devices_left_out: int = 0
    shortage: Annotated[str | None, Field(exclude=True)] = None
    outliers: tuple[OddUpload, ...] = ()

    def obstacles(self) -> list[str]:
        """Return why no round can continue now; none if it can, or if none is left."""
        if self.phase == "finished":
            return []
        needs = {
            "the MQTT broker is not connected": self.broker_connected,
            "the ledger is not open": self.ledger_open,
        }
        reasons = [reason for reason, met in needs.items() if not met]
        reasons += [f"the MQTT broker {refusal}" for refusal in self.broker_refusals]
        return reasons + [
            each for each in (self.generator_problem, self.shortage) if each is not None
        ]


def app(status: Callable[[], Status], metrics: Metrics) -> FastAPI:
    """Make the application.

    Args:
        status: asked on another thread, once a request; an EdgeloopError of it answers with 503.
        metrics: the run's.
    """
    api = FastAPI(title="edgeloop aggregator", docs_url=None, redoc_url=None, openapi_url=None)

    @api.get("/metrics")
    def exposition() -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @api.get("/healthz")
    def healthz() -> dict[str, bool]:
        return {"alive": True}

    @api.get("/readyz")
    def readyz() -> JSONResponse:
        return _readiness(status().obstacles())

    @api.get("/status")
    def read_status() -> Status:
        return status()

    @api.exception_handler(EdgeloopError)
    def unable(_: Request, error: Exception) -> JSONResponse:
        return _readiness([str(error)])

    return api


def _readiness(reasons: list[str]) -> JSONResponse:
    ready = not reasons
    return JSONResponse({"ready": ready, "reasons": reasons}, 200 if ready else 503)


class Server:
    """Serves an application from a thread of its own.

    Args:
        api: the application.
        host: the address to listen on.
        port: 0 for any free one.

    Attributes:
        port: the one it listens on, once started.
    """

    def __init__(self, api: FastAPI, host: str, port: int) -> None:
        self.port = port
        self._host = host
        self._thread: threading.Thread | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                api,
                http=LimitedH11Protocol,
                ws="none",
                log_config=None,
                log_level="error",  # what strangers send is no trouble of ours
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )

    def start(self) -> None:
        """Start, and return when requests are answered; `port` then tells where.

        Raises:
            ConfigError: if it cannot listen there.
            TakenError: if another process does.
        """
        listening = _listening(self._host, self.port)
        self.port = int(listening.getsockname()[1])
        serve = partial(self._server.run, sockets=[listening])
        self._thread = threading.Thread(target=serve, name="http", daemon=True)
        self._thread.start()
        given_up = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > given_up:
                listening.close()
                raise RuntimeError("the HTTP server did not start")
            time.sleep(0.005)

    def stop(self) -> None:
        """Answer what has been asked, then listen no more; nothing if it was never started."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno in _PORT_ERRORS:
            remedy = "choose another one, or 0 for any free one"
            problem = f"{port} {_PORT_ERRORS[error.errno]}"
            raise listen_error("http.port", problem, remedy, error) from error
        problem = f"cannot listen on {host!r} ({error.strerror or error})"
        raise ConfigError("http.host", problem, "give an address of this machine") from error
