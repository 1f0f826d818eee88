"""What an authority answers over HTTPS: devices enrol and renew, operators look and act."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from cloud.authority.authority import Authority, DeniedError, identities_of
from cloud.authority.identity import Identity
from cloud.authority.keys import DEVICES, SERVICES
from cloud.authority.registry import Signed
from cloud.authority.rights import mosquitto_acl
from cloud.authority.settings import AuthoritySettings
from cloud.authority.signing import MOST_REQUEST_BYTES, pem
from cloud.authority.tokens import Admission
from cloud.http.access import CALLER, UNKNOWN, Caller, Role, address
from cloud.http.connections import CERTIFICATE
from edgeloop.errors import ConfigError, EdgeloopError, UnavailableError
from edgeloop.runtime import wording

_Name = Annotated[str, Field(max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EnrolRequest(_Body):
    """What a device sends first."""

    token: Annotated[str, Field(max_length=256)]
    request: Annotated[str, Field(max_length=MOST_REQUEST_BYTES)]


class RenewRequest(_Body):
    """What a device sends later, over TLS with its certificate."""

    request: Annotated[str, Field(max_length=MOST_REQUEST_BYTES)]


class AdmissionRequest(_Body):
    """What an operator asks a token by."""

    task: _Name
    names: _Name
    uses: int = 1
    hours: Annotated[float, Field(gt=0, le=366 * 24)] = 24.0
    labels: dict[str, str] = {}


class DeviceRequest(_Body):
    """Whom an operator revokes."""

    task: _Name
    name: _Name


class Granted(BaseModel):
    """A certificate, and what its device must know.

    Attributes:
        task: the device's.
        name: the device's.
        certificate: its own, PEM.
        authority: the certificate of who signs services, PEM: the broker's comes from there.
        labels: the device's.
        broker_host: that devices reach the broker by.
        broker_port: likewise.
    """

    task: str
    name: str
    certificate: str
    authority: str
    labels: dict[str, str]
    broker_host: str
    broker_port: int


def needed(method: str, path: str) -> Role:
    """Return the role that a request needs; enrolment and renewal ask for something else."""
    if path in ("/healthz", "/readyz", "/v1/authorities", "/v1/enrol", "/v1/renew"):
        return Role.nobody
    if path.startswith("/v1/revoked/"):
        return Role.nobody
    if path == "/v1/audit":
        return Role.admin
    return Role.viewer if method in ("GET", "HEAD") else Role.operator


def services_read(authority: Authority, der: bytes) -> Caller:
    """Return who shows a certificate that TLS has verified: a service that holds one may read.

    Raises:
        EdgeloopError: if the database is away.
    """
    identity = authority.service_of(der)
    return UNKNOWN if identity is None else Caller(identity.user, Role.viewer)


def _told(error: EdgeloopError) -> dict[str, str]:
    return {"field": error.field, "problem": error.problem, "remedy": error.remedy}


def app(authority: Authority, settings: AuthoritySettings, changed: Callable[[], None]) -> FastAPI:
    """Make the application.

    Args:
        authority: at work.
        settings: its own.
        changed: called when rights have changed.
    """
    api = FastAPI(title="edgeloop authority", docs_url=None, redoc_url=None, openapi_url=None)
    _health(api, authority)
    _devices(api, authority, settings, changed)
    _overview(api, authority, settings)
    _acts(api, authority, changed)

    @api.exception_handler(EdgeloopError)
    def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EdgeloopError)  # noqa: S101 - as it is registered
        return JSONResponse(_told(error), _code(error))

    @api.exception_handler(RequestValidationError)
    def unreadable(_: Request, error: Exception) -> JSONResponse:
        """Answer in our own words: what was sent may have a secret in it, or be no text."""
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as it is registered
        place, problem, remedy = wording.first_finding(error.errors())
        field = ".".join(str(each) for each in place).encode("ascii", "backslashreplace").decode()
        told = {"field": field[:200], "problem": problem, "remedy": remedy}
        return JSONResponse(told if problem.isascii() else {**told, "problem": "is wrong"}, 422)

    return api


def _code(error: EdgeloopError) -> int:
    if isinstance(error, UnavailableError):
        return 503
    if isinstance(error, DeniedError):
        return 403
    return 400 if isinstance(error, ConfigError) else 500


def _health(api: FastAPI, authority: Authority) -> None:
    @api.get("/healthz")
    def healthz() -> dict[str, bool]:
        return {"alive": True}

    @api.get("/readyz")
    def readyz() -> dict[str, bool]:
        authority.services()  # asks the database
        return {"ready": True}

    @api.get("/v1/authorities")
    def authorities() -> dict[str, str]:
        return {each: pem(authority.certificate(each)) for each in (DEVICES, SERVICES)}

    @api.get("/v1/revoked/{signer}")
    def revoked(signer: str) -> PlainTextResponse:
        if signer not in (DEVICES, SERVICES):
            raise ConfigError("signer", "is none", f"ask for {DEVICES} or {SERVICES}")
        return PlainTextResponse(pem(authority.revoked(signer)))


def _devices(
    api: FastAPI, authority: Authority, settings: AuthoritySettings, changed: Callable[[], None]
) -> None:
    def granted(signed: Signed) -> Granted:
        return Granted(
            task=signed.identity.task,
            name=signed.identity.name,
            certificate=pem(signed.certificate),
            authority=pem(authority.certificate(SERVICES)),
            labels=dict(signed.labels),
            broker_host=settings.broker_host or settings.hosts[0],
            broker_port=settings.broker_port,
        )

    @api.post("/v1/enrol")
    def enrol(asked: EnrolRequest, request: Request) -> Granted:
        signed = authority.enrol(asked.token, asked.request.encode(), address(request.scope))
        changed()
        return granted(signed)

    @api.post("/v1/renew")
    def renew(asked: RenewRequest, request: Request) -> Granted:
        shown = request.scope.get(CERTIFICATE, b"")
        return granted(authority.renew(shown, asked.request.encode(), address(request.scope)))


def _overview(api: FastAPI, authority: Authority, settings: AuthoritySettings) -> None:
    """Answer operators who look."""

    @api.get("/v1/devices")
    def devices() -> list[dict[str, Any]]:
        return [
            {
                "task": each.identity.task,
                "name": each.identity.name,
                "labels": dict(each.labels),
                "admitted": each.admitted.isoformat(),
                "revoked": _iso(each.revoked),
            }
            for each in authority.admitted()
        ]

    @api.get("/v1/rights")
    def rights() -> PlainTextResponse:
        admitted = identities_of(authority.admitted())
        services, beside = authority.services(), (settings.prefix, settings.trusted)
        return PlainTextResponse(mosquitto_acl(admitted, services, *beside))

    @api.get("/v1/audit")
    def audit(most: Annotated[int, Field(ge=1, le=1000)] = 100) -> list[dict[str, str]]:
        return [{**vars(each), "at": each.at.isoformat()} for each in authority.audit(most)]


def _acts(api: FastAPI, authority: Authority, changed: Callable[[], None]) -> None:
    """Do what operators ask for; each act is in the audit with their name."""

    @api.post("/v1/tokens")
    def make_token(asked: AdmissionRequest, request: Request) -> dict[str, str]:
        life = timedelta(hours=asked.hours)
        admission = Admission(asked.task, asked.names, asked.uses, life, asked.labels)
        ((name, text),) = authority.make_tokens([admission], _actor(request))
        return {"id": name, "token": text}

    @api.delete("/v1/tokens/{token}")
    def revoke_token(token: str, request: Request) -> dict[str, bool]:
        authority.revoke_token(token, _actor(request))
        return {"revoked": True}

    @api.post("/v1/revoke")
    def revoke(asked: DeviceRequest, request: Request) -> dict[str, bool]:
        authority.revoke(Identity(asked.task, asked.name), _actor(request))
        changed()
        return {"revoked": True}


def _actor(request: Request) -> str:
    caller: Caller = request.scope[CALLER]
    return f"{caller.name} at {address(request.scope)}"


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
