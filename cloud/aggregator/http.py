"""What an aggregator tells over HTTP: its metrics, its health and how far it is."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from cloud.aggregator.answer_record import RefusedAnswer
from cloud.aggregator.ledger import PastRound
from cloud.aggregator.metrics import Metrics, Phase
from cloud.aggregator.settings import HttpSettings
from cloud.aggregator.waiting import MOST_DEVICES, DeviceStatus, OddUpload
from cloud.http.access import UNKNOWN, Caller, Guard, Role, Rules, Tokens, allowed_hosts
from cloud.http.server import Server as Server
from edgeloop import round_history
from edgeloop.errors import ConfigError, EdgeloopError


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
        outage: the disk or the database that is away, for which the run waits; /readyz tells it.
        devices: the run's, those that the open round waits for first.
        devices_left_out: how many more there are.
        shortage: why the open round cannot have the answers that it needs; /readyz tells it.
        outliers: parts of the last closed round's uploads that are far from the cohort's.
        forgotten: devices that were taken out of the run with all that they gave.
        refusals: the newest answers that were not taken, since the aggregator's start.
        evicted: names of devices that were sent away.
        class_names: one a class, in the order of their numbers.
        shape: of one input, channels first.
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
    outage: Annotated[str | None, Field(exclude=True)] = None
    devices: tuple[DeviceStatus, ...] = ()
    devices_left_out: int = 0
    shortage: Annotated[str | None, Field(exclude=True)] = None
    outliers: tuple[OddUpload, ...] = ()
    forgotten: tuple[str, ...] = ()
    refusals: tuple[RefusedAnswer, ...] = ()
    evicted: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()

    def obstacles(self) -> list[str]:
        """Return why no round can continue now; none if it can, or if none is left."""
        if self.phase == "finished":
            return []
        if self.outage is not None:
            return [self.outage]  # no broker is dialled until it is over
        needs = {
            "the MQTT broker is not connected": self.broker_connected,
            "the ledger is not open": self.ledger_open,
        }
        reasons = [reason for reason, met in needs.items() if not met]
        reasons += [f"the MQTT broker {refusal}" for refusal in self.broker_refusals]
        return reasons + [
            each for each in (self.generator_problem, self.shortage) if each is not None
        ]


class Devices(BaseModel):
    """A part of a run's devices, by their names.

    Attributes:
        items: of this part.
        next: what to give as `after` for the part that follows; None with the last one.
    """

    model_config = ConfigDict(frozen=True)

    items: tuple[DeviceStatus, ...]
    next: str | None = None


@dataclass(frozen=True)
class Details:
    """What is told besides the status.

    Attributes:
        devices: the devices after a name, at most `MOST_DEVICES` and one.
        history: folder of the rounds' files, see `edgeloop.round_history`; it may be missing.
    """

    devices: Callable[[str], Sequence[DeviceStatus]] = lambda after: ()
    history: Path | None = None


def app(
    status: Callable[[], Status],
    metrics: Metrics,
    details: Details = Details(),
) -> FastAPI:
    """Make the application.

    Args:
        status: asked on another thread, once a request; an EdgeloopError of it answers with 503.
        metrics: the run's.
        details: what else is told.
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

    _detailed(api, details)

    @api.exception_handler(EdgeloopError)
    def unable(_: Request, error: Exception) -> JSONResponse:
        return _readiness([str(error)])

    return api


def _detailed(api: FastAPI, details: Details) -> None:
    @api.get("/devices")
    def devices(after: Annotated[str, Query(max_length=200)] = "") -> Devices:
        found = details.devices(after)
        more = len(found) > MOST_DEVICES
        return Devices(
            items=tuple(found[:MOST_DEVICES]), next=found[MOST_DEVICES - 1].name if more else None
        )

    @api.get("/history")
    def history() -> list[int]:
        return [] if details.history is None else round_history.kept(details.history)

    @api.get("/history/{number}")
    def round_file(number: Annotated[int, PathParameter(ge=0, lt=1 << 31)]) -> Response:
        path = None if details.history is None else round_history.file_of(details.history, number)
        if path is None or not path.is_file():
            return JSONResponse({"problem": f"no file of round {number} is kept"}, 404)
        return FileResponse(path, media_type="application/octet-stream")


def serve(api: FastAPI, settings: HttpSettings) -> Server:
    """Return a server of an application for those who may ask; it is not started.

    Raises:
        ConfigError: if a file of the settings cannot be used.
    """
    shut = settings.tokens_file is not None or settings.client_ca_file is not None
    rules = Rules(
        _needed if shut else lambda method, path: Role.nobody,
        Tokens(settings.tokens_file),
        allowed_hosts(settings.allowed_hosts) if settings.allowed_hosts else frozenset(),
        lambda der: Caller("a certificate", Role.viewer) if settings.client_ca_file else UNKNOWN,
    )
    return Server(Guard(api, rules), settings.host, settings.port, _tls(settings))


def url(settings: HttpSettings, port: int) -> str:
    """Return where a server is, for the log."""
    scheme = "http" if settings.certificate_file is None else "https"
    return f"{scheme}://{settings.host}:{port}"


def _needed(method: str, path: str) -> Role:
    return Role.nobody if path in ("/healthz", "/readyz") else Role.viewer


def _tls(settings: HttpSettings) -> ssl.SSLContext | None:
    if settings.certificate_file is None or settings.key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file, password="")
        if settings.client_ca_file is not None:
            context.load_verify_locations(cafile=settings.client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL
    except OSError as error:  # an SSLError is one
        field = "http.certificate_file, http.key_file, http.client_ca_file"
        raise ConfigError(field, f"cannot be used ({error})", "give PEM files") from error
    return context


def _readiness(reasons: list[str]) -> JSONResponse:
    ready = not reasons
    return JSONResponse({"ready": ready, "reasons": reasons}, 200 if ready else 503)
