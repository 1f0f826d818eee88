"""The server's pages: made here, kept up to date by htmx, charts by uPlot; all from here."""

import asyncio
import hmac
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cloud.console import charts
from cloud.console.acting import Actions
from cloud.console.actor import actor
from cloud.console.parameters import After, Asked, Name, State
from cloud.console.sessions import COOKIE, SESSION, Session, Sessions, cookie
from cloud.console.store import Store
from cloud.http.access import CALLER, UNKNOWN, Caller, Role
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.remote.models import Round, Task, Verb
from edgeloop.remote.new_task import NewTask

_HERE = Path(__file__).parent
_DEVICES = 100  # on a page
_ROUNDS = 1000  # in a chart

HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; form-action 'self'",
    "referrer-policy": "same-origin",  # with none, a form would have no origin
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}

ALLOWED: dict[str, tuple[Verb, ...]] = {
    "Running": ("pause", "cancel"),
    "Away": ("pause", "cancel"),
    "Paused": ("resume", "cancel"),
    "Finished": (),
    "Cancelled": (),
}
"""What a page offers for a task in each state."""


class Pages:
    """Makes pages of what a store knows.

    Args:
        store: what is known.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        loader = FileSystemLoader(_HERE / "templates")
        self._made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
        self._made.filters |= {"share": _share, "megabytes": _megabytes}
        self._made.filters |= {"when": _when, "short": _short}

    def page(self, request: Request, name: str, code: int = 200, **facts: Any) -> HTMLResponse:
        """Make a page, or the part of it that htmx puts into the one that is shown."""
        caller: Caller = request.scope.get(CALLER, UNKNOWN)
        session: Session | None = request.scope.get(SESSION)
        facts |= {
            "caller": caller,
            "acts": caller.role >= Role.operator,
            "reads_audit": caller.role >= Role.admin,
            "form_key": "" if session is None else session.form_key,
            "path": request.url.path,
            "here": _here(request),
        }
        text = self._made.get_template(name).render(facts)
        return HTMLResponse(text, code, headers=HEADERS)


def add(api: FastAPI, store: Store, actions: Actions, sessions: Sessions, *, secure: bool) -> Pages:
    """Add the pages to an application.

    Args:
        api: the application.
        store: what is known.
        actions: what may be done.
        sessions: who has signed in.
        secure: whether it is reached by HTTPS alone.
    """
    pages = Pages(store)
    api.mount("/static", StaticFiles(directory=_HERE / "static"))
    _signing_in(api, pages, sessions, secure)
    _reading(api, pages)
    _records(api, pages)
    _acting(api, pages, actions)
    return pages


def _signing_in(api: FastAPI, pages: Pages, sessions: Sessions, secure: bool) -> None:
    @api.get("/login", include_in_schema=False)
    def login(request: Request) -> Response:
        return pages.page(request, "login.html", problem="")

    @api.post("/login", include_in_schema=False)
    async def signed_in(request: Request) -> Response:
        found_form = await form(request)
        key = sessions.begin(found_form.get("token", "").strip()) if _is_ours(request) else None
        if key is None:
            problem = "That is no token of this server."
            return pages.page(request, "login.html", 401, problem=problem)
        found = RedirectResponse("/", 303)
        found.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=secure)
        return found

    @api.post("/logout", include_in_schema=False)
    def signed_out(request: Request) -> Response:
        if _is_ours(request):
            sessions.end(cookie(request.scope))
        found = RedirectResponse("/login", 303)
        found.delete_cookie(COOKIE)
        return found


def _reading(api: FastAPI, pages: Pages) -> None:
    store = pages.store

    @api.get("/", include_in_schema=False)
    def fleet(request: Request, after: After = None) -> Response:
        return pages.page(request, "fleet.html", found=store.tasks(after, _DEVICES))

    @api.get("/tasks/{task}", include_in_schema=False)
    def task(task: Name, request: Request, state: State = None, after: After = None) -> Response:
        found = store.task(task)
        rounds = closed_rounds(store, found)
        return pages.page(
            request,
            "task.html",
            task=found,
            rounds=rounds,
            chart=charts.accuracy(rounds),
            traffic=charts.traffic(rounds),
            devices=store.devices(task, state, after, _DEVICES),
            models=store.models(task, limit=_DEVICES).items,
            verbs=ALLOWED[found.state] if found.source != "aggregator" else (),
        )

    @api.get("/tasks/{task}/devices/{device}", include_in_schema=False)
    def device(task: Name, device: Name, request: Request) -> Response:
        return pages.page(
            request, "device.html", task=store.task(task), device=store.device(task, device)
        )


def _records(api: FastAPI, pages: Pages) -> None:
    store = pages.store

    @api.get("/refusals", include_in_schema=False)
    def refusals(request: Request, task: Asked = None, after: After = None) -> Response:
        found = store.refusals(task, after, _DEVICES)
        return pages.page(request, "refusals.html", found=found)

    @api.get("/audit", include_in_schema=False)
    def audit(request: Request, after: After = None) -> Response:
        return pages.page(request, "audit.html", found=store.audit(after, _DEVICES))


def _acting(api: FastAPI, pages: Pages, actions: Actions) -> None:
    @api.post("/tasks/{task}/devices/{device}/evict", include_in_schema=False)
    async def evict(task: Name, device: Name, request: Request) -> Response:
        def do(*words: str) -> str:
            return actions.evict(*words).detail

        allowed, words = await checked(request), (task, device, actor(request))
        return await done(pages, request, allowed, do, words, f"/tasks/{task}")

    @api.get("/new-task", include_in_schema=False)
    def new_task(request: Request) -> Response:
        return pages.page(request, "new-task.html")

    @api.post("/tasks", include_in_schema=False)
    async def create(request: Request) -> Response:
        fields = await form(request)

        def do(_: str, who: str) -> str:
            return actions.create(_task_of(fields), who).detail

        allowed, words = await checked(request), ("New task", actor(request))
        return await done(pages, request, allowed, do, words, "/new-task")

    @api.post("/tasks/{task}/{verb}", include_in_schema=False)
    async def act(task: Name, verb: Verb, request: Request) -> Response:
        def do(name: str, wanted: Verb, who: str) -> str:
            return actions.act(name, wanted, who).detail

        allowed, words = await checked(request), (task, verb, actor(request))
        return await done(pages, request, allowed, do, words, f"/tasks/{task}")


async def checked(request: Request) -> bool:
    """Return whether a form was sent by a page of this session's."""
    session: Session | None = request.scope.get(SESSION)
    shown = (await form(request)).get("form_key", "")
    if session is None or not _is_ours(request):
        return False
    return hmac.compare_digest(shown.encode(), session.form_key.encode())


async def done(
    pages: Pages,
    request: Request,
    allowed: bool,
    do: Callable[..., str],
    words: Sequence[Any],
    way: str,
) -> Response:
    """Do what a form asks for, and say what came of it.

    Args:
        pages: make the page.
        request: of the form.
        allowed: whether it was sent by a page of ours.
        do: does it, and returns a sentence.
        words: what it is given; the first says of what.
        way: to the page that has the form.
    """
    said = {"subject": words[0], "way": way}
    if not allowed:
        problem = "The form is of an older page: go back, load it again, and try once more."
        return pages.page(request, "said.html", 403, text=problem, **said)
    try:
        text = await asyncio.to_thread(do, *words)
    except EdgeloopError as error:
        return pages.page(request, "said.html", 409, text=str(error), **said)
    return pages.page(request, "said.html", text=text, **said)


def _task_of(fields: Mapping[str, str]) -> NewTask:
    """Return the task that a form has.

    Raises:
        ConfigError: if it is no TOML, or the namespace is none.
    """
    try:
        table = tomllib.loads(fields.get("toml", "").replace("\r\n", "\n"))
        return NewTask(
            task=table,
            namespace=fields.get("namespace", "").strip(),
            begin=fields.get("begin") == "yes",
        )
    except ValueError as error:
        problem = f"cannot be read ({' '.join(str(error).split())[:200]})"
        raise ConfigError("the task", problem, "go back, and mend it") from error


def closed_rounds(store: Store, task: Task) -> tuple[Round, ...]:
    """Return the closed rounds of a task's run, as far as a chart shows them."""
    return store.rounds(task.run, limit=_ROUNDS).items if task.run else ()


def _here(request: Request) -> str:
    """Return the page that is shown, and which part of it, for it to be kept up to date."""
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


async def form(request: Request) -> dict[str, str]:
    """Return the fields of a form."""
    body = (await request.body()).decode("latin-1")
    return {key: values[0] for key, values in parse_qs(body, max_num_fields=20).items()}


def _is_ours(request: Request) -> bool:
    """Return whether a form was sent by a page of ours."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.2f} MB"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _when(value: Any) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"
