"""The server's API, version 1: what is known, and what may be done; every list comes in parts."""

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from cloud.console import problems
from cloud.console.acting import Actions
from cloud.console.actor import actor
from cloud.console.following import Follower
from cloud.console.knowledge import Knowledge
from cloud.console.live import Streams
from cloud.console.parameters import After, Asked, Limit, Name, Number, State
from cloud.console.rollouts import api as rollouts_api
from cloud.console.rollouts.service import Rollouts
from cloud.console.store import Store
from cloud.http.access import CALLER, MOST_BODY_BYTES, Role
from cloud.http.access import Caller as Known
from edgeloop.cohorts.roster import KINDS
from edgeloop.errors import ConfigError, choose
from edgeloop.remote.models import (
    Act,
    AuditEntry,
    Caller,
    Device,
    Model,
    Page,
    Problem,
    Refusal,
    Round,
    RoundKnowledge,
    Run,
    Task,
    Verb,
)
from edgeloop.remote.models import Knowledge as Kept
from edgeloop.remote.new_task import NewTask

PREFIX = "/api/v1"


def needed(method: str, path: str) -> Role:
    """Return the role that a request needs."""
    if path in ("/healthz", "/readyz", "/login", "/logout") or path.startswith("/static/"):
        return Role.nobody
    makes_task = method == "POST" and path in (f"{PREFIX}/tasks", "/tasks")
    if makes_task or path in (f"{PREFIX}/audit", "/audit", "/new-task"):
        return Role.admin
    if method in ("GET", "HEAD"):
        return Role.viewer
    return Role.operator


def most_bytes(method: str, path: str) -> int:
    """Return the largest body of a request."""
    if (method, path) == ("POST", PREFIX + rollouts_api.FILES):
        return rollouts_api.MOST_FILE_BYTES
    return MOST_BODY_BYTES


def app(
    store: Store, follower: Follower, actions: Actions, knowledge: Knowledge, rollouts: Rollouts
) -> FastAPI:
    """Make the application of the API.

    Args:
        store: what is known.
        follower: says when something has changed.
        actions: what may be done.
        knowledge: what tasks have exchanged.
        rollouts: what is shipped to devices.
    """
    api = FastAPI(
        title="edgeloop server",
        version="1",
        description="Tasks, runs, rounds, devices, models, refusals and what was done about them.",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{PREFIX}/openapi.json",
    )
    problems.register(api)
    router = APIRouter(prefix=PREFIX, responses=problems.DOCUMENTED)
    _tasks(router, store)
    _devices(router, store)
    _records(router, store)
    _exchanged(router, store, knowledge)
    _acts(router, actions)
    rollouts_api.add(router, rollouts)
    _live(router, follower)
    api.include_router(router)
    _health(api, store)
    _describe(api)
    return api


def _tasks(router: APIRouter, store: Store) -> None:
    @router.get("/tasks")
    def tasks(after: After = None, limit: Limit = 100) -> Page[Task]:
        """List the tasks, by their names."""
        return store.tasks(after, limit)

    @router.get("/tasks/{task}")
    def task(task: Name) -> Task:
        """Show a task."""
        return store.task(task)

    @router.get("/tasks/{task}/runs")
    def runs(task: Name, after: After = None, limit: Limit = 100) -> Page[Run]:
        """List a task's runs, by their identities."""
        store.task(task)
        return store.runs(task, after, limit)

    @router.get("/runs/{run}/rounds")
    def rounds(run: Name, after: After = None, limit: Limit = 100) -> Page[Round]:
        """List the closed rounds of a run, from the first."""
        return store.rounds(run, after, limit)


def _devices(router: APIRouter, store: Store) -> None:
    @router.get("/devices")
    def devices(
        task: Asked = None, state: State = None, after: After = None, limit: Limit = 100
    ) -> Page[Device]:
        """List devices, by their tasks and names."""
        found = store.devices(task, state, after, limit)
        if state is not None and not found.items and state not in KINDS:  # newer devices have more
            raise ConfigError("state", f"there is no {state!r}", choose(state, KINDS))
        return found

    @router.get("/tasks/{task}/devices/{device}")
    def device(task: Name, device: Name) -> Device:
        """Show a device of a task."""
        return store.device(task, device)

    @router.get("/models")
    def models(task: Asked = None, after: After = None, limit: Limit = 100) -> Page[Model]:
        """List the files that tasks have made, as far as they are on the server's machine."""
        return store.models(task, after, limit)


def _records(router: APIRouter, store: Store) -> None:
    @router.get("/refusals")
    def refusals(task: Asked = None, after: After = None, limit: Limit = 100) -> Page[Refusal]:
        """List answers that were not taken, the newest first."""
        return store.refusals(task, after, limit)

    @router.get("/audit")
    def audit(after: After = None, limit: Limit = 100) -> Page[AuditEntry]:
        """List what was done and refused, the newest first; for admins."""
        return store.audit(after, limit)

    @router.get("/caller")
    def caller(request: Request) -> Caller:
        """Tell who asks."""
        known: Known = request.scope[CALLER]
        return Caller.model_validate({"name": known.name, "role": known.role.name})


def _exchanged(router: APIRouter, store: Store, knowledge: Knowledge) -> None:
    png: dict[int | str, dict[str, Any]] = {
        200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
    }

    @router.get("/tasks/{task}/knowledge")
    def kept(task: Name) -> Kept:
        """Tell of which rounds is kept what the task has exchanged."""
        store.task(task)
        return knowledge.kept(task)

    @router.get("/tasks/{task}/knowledge/{number}")
    def told(task: Name, number: Number) -> RoundKnowledge:
        """Show what a round has exchanged: how far classes are apart, and how many have images."""
        store.task(task)
        return knowledge.told(task, number)

    @router.get(
        "/tasks/{task}/knowledge/{number}/images/{label}", response_class=Response, responses=png
    )
    def image(task: Name, number: Number, label: Number) -> Response:
        """Give the generated image of a class that a round has led to."""
        store.task(task)
        return Response(knowledge.image(task, number, label), media_type="image/png")


def _acts(router: APIRouter, actions: Actions) -> None:
    @router.post("/tasks")
    def create(asked: NewTask, request: Request) -> Act:
        """Make a task, in the stack or as a FederatedTask; for admins."""
        return actions.create(asked, actor(request))

    def route(verb: Verb, summary: str) -> None:
        def act(task: Name, request: Request) -> Act:
            return actions.act(task, verb, actor(request))

        act.__doc__ = summary
        router.post(f"/tasks/{{task}}/{verb}", name=verb)(act)

    route("start", "Have a task run.")
    route("pause", "Stop a task's aggregator; its devices wait.")
    route("resume", "Have a paused task go on.")
    route("cancel", "Stop a task for good.")

    @router.post("/tasks/{task}/devices/{device}/evict")
    def evict(task: Name, device: Name, request: Request) -> Act:
        """Exclude a device from a task; what it has contributed stays."""
        return actions.evict(task, device, actor(request))


def _live(router: APIRouter, follower: Follower) -> None:
    streams = Streams(follower)
    described: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
    }

    @router.get("/events", response_class=StreamingResponse, responses=described)
    async def events(request: Request) -> StreamingResponse:
        """Say, as server-sent events, which tasks have changed; the stream ends after a while."""
        known: Known = request.scope[CALLER]
        streams.check(known.name)
        last = request.headers.get("last-event-id", "")
        return StreamingResponse(streams.changes(known.name, last), media_type="text/event-stream")


def _health(api: FastAPI, store: Store) -> None:
    @api.get("/healthz", include_in_schema=False)
    def healthz() -> dict[str, bool]:
        return {"alive": True}

    @api.get("/readyz", include_in_schema=False)
    def readyz() -> dict[str, bool]:
        store.tasks(limit=1)  # asks the database
        return {"ready": True}


def _describe(api: FastAPI) -> None:
    """Add to the API's description what FastAPI cannot know: problems, and tokens."""
    made = api.openapi

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            found = made()
            parts = found["components"]
            parts["schemas"]["Problem"] = Problem.model_json_schema()
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"token": []}]
        return api.openapi_schema or {}

    api.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's own page has it
