"""A small, faithful Kubernetes API server over HTTP, for tests of operators, with faults.

It has objects with versions, generations, finalizers and owners; JSON, merge, strategic and apply
patches; the status subresource; CRDs with defaults, pruning, validation and rules in CEL; watches
that continue from a version, 409 and 410; dry runs, quotas of pods, quantities in one form; and
rights by role. What it lacks: controllers, other admission, conflicts between managers that apply,
tables, protobuf, and field selectors but of a name and of an event's type.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from aiohttp import web

from tests.cloud.operator import requests
from tests.cloud.operator.requests import Asked
from tests.cloud.operator.store import ApiError, Store

ADMIN = "admin"
"""The token of one who may do everything."""

Rules = Sequence[Mapping[str, Any]]


@dataclass
class Fault:
    """An answer that requests get instead of theirs.

    Attributes:
        wanted: which requests.
        code: of the answer.
        times: how many of them.
        message: of the answer.
    """

    wanted: Callable[[Asked], bool]
    code: int
    times: int
    message: str = "as asked"


@dataclass
class ApiServer:
    """A server on a free port of this machine.

    Attributes:
        store: its objects.
        roles: by token, the namespaces with the rules of who has it.
        asked: every request of those who have a role.
        denied: those that no rule allows.
        faults: to come.
    """

    store: Store = field(default_factory=Store)
    roles: dict[str, dict[str, Rules]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    denied: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._watches: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.drop_watches()
        self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    @property
    def url(self) -> str:
        """Of the server."""
        return f"http://127.0.0.1:{self.port}"

    def drop_watches(self, *, forget: bool = False) -> None:
        """Cut every open watch; on request also forget what has changed, so that it is 410 Gone."""

        async def drop() -> None:
            if forget:
                self.store.expire()
            for watch in list(self._watches):
                watch.cancel()

        self._run(drop())

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            answer = await self._answer(request)
        except ApiError as error:
            return web.json_response(requests.status(error), status=error.code)
        self._news.set()
        self._news = asyncio.Event()
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        group, version, rest = requests.address(parts)
        if len(rest) < 1 or (rest[0] == "namespaces" and len(rest) < 3):
            return self._discovery(parts, group, version)
        namespace = rest[1] if rest[0] == "namespaces" else None
        plural, name, sub = [*(rest[2:] if namespace else rest), None, None][:3]
        kind = self.store.kinds.get(str(plural))
        if kind is None or (kind.group, kind.version) != (group, version):
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        resource = f"{plural}/{sub}" if sub else str(plural)
        asked = Asked(requests.verb(request, name), group, resource, namespace, name)
        self._authorise(request, asked)
        self._fail(asked)
        return await self._do(request, asked, str(plural), sub == "status")

    def _authorise(self, request: web.Request, asked: Asked) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token == ADMIN:
            return
        self.asked.append(asked)
        rules = self.roles.get(token, {}).get(asked.namespace or "", [])
        allowing = [rule for rule in rules if requests.allows(rule, asked)]
        if not allowing:
            self.denied.append(asked)
            raise requests.forbidden(asked)
        named = any("resourceNames" in rule for rule in allowing)
        if requests.reads_secrets(asked) and not (named or requests.metadata_only(request)):
            self.denied.append(asked)
            raise ApiError(403, "Forbidden", "what is in a secret is nothing for an operator")

    def _fail(self, asked: Asked) -> None:
        for fault in self.faults:
            if fault.times and fault.wanted(asked):
                fault.times -= 1
                raise ApiError(
                    fault.code, {409: "Conflict"}.get(fault.code, "Fault"), fault.message
                )

    def _discovery(self, parts: list[str], group: str, version: str) -> web.Response:
        kinds = self.store.kinds.values()
        if parts == ["version"]:
            return web.json_response({"major": "1", "minor": "37", "gitVersion": "v1.37.0"})
        if parts == ["api"]:
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        if parts == ["apis"]:
            groups = [
                requests.group(name)
                for name in sorted({(k.group, k.version) for k in kinds if k.group})
            ]
            return web.json_response({"kind": "APIGroupList", "groups": groups})
        found = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
        if not found:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        resources = [each for kind in found for each in requests.resources(kind)]
        named = {"kind": "APIResourceList", "groupVersion": found[0].api_version}
        return web.json_response({**named, "resources": resources})

    async def _do(
        self, request: web.Request, asked: Asked, plural: str, status: bool
    ) -> web.StreamResponse:
        namespace, name = asked.namespace or "", asked.name or ""
        key = (plural, namespace, name)
        body = json.loads(await request.text() or "null")
        store = self.store.copied() if request.query.get("dryRun") == "All" else self.store
        match asked.verb:
            case "list":
                return self._listed(request, plural, asked)
            case "watch":
                return await self._watch(request, plural, asked)
            case "get":
                return web.json_response(self.store.get(key))
            case "create":
                return web.json_response(store.create(plural, namespace, body), status=201)
            case "update":
                return web.json_response(self.store.replace(key, body, status=status))
            case "delete":
                return web.json_response(self.store.delete(key))
        if request.content_type != "application/apply-patch+yaml":
            return web.json_response(
                self.store.patch(key, body, request.content_type, status=status)
            )
        if key not in self.store.objects:  # who applies what is not there creates it
            self._authorise(request, Asked("create", asked.group, plural, namespace, None))
        found, new = store.apply(key, body, request.query["fieldManager"])
        return web.json_response(found, status=201 if new else 200)

    def _listed(self, request: web.Request, plural: str, asked: Asked) -> web.Response:
        kind, wanted = self.store.kinds[plural], requests.wanted(request)
        items = [each for each in self.store.found(plural, asked.namespace) if wanted(each)]
        if requests.metadata_only(request):
            items = [{"metadata": each["metadata"]} for each in items]
        return web.json_response(
            {
                "kind": f"{kind.kind}List",
                "apiVersion": kind.api_version,
                "metadata": {"resourceVersion": str(self.store.version)},
                "items": items,
            }
        )

    async def _watch(self, request: web.Request, plural: str, asked: Asked) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        told = asyncio.ensure_future(self._tell(request, answer, plural, asked))
        self._watches.add(told)
        seconds = float(request.query.get("timeoutSeconds") or 3600)
        try:
            await asyncio.wait_for(told, seconds)
        except (TimeoutError, asyncio.CancelledError, ConnectionResetError):
            told.cancel()
        finally:
            self._watches.discard(told)
        return answer

    async def _tell(
        self, request: web.Request, answer: web.StreamResponse, plural: str, asked: Asked
    ) -> None:
        """Write every change from a version on, until the watch is cut."""
        last, wanted = int(request.query.get("resourceVersion") or 0), requests.wanted(request)
        if requests.true(request, "sendInitialEvents"):
            last = self.store.version
            for each in filter(wanted, self.store.found(plural, asked.namespace)):
                await answer.write(requests.line("ADDED", each))
            await answer.write(requests.bookmark(self.store.kinds[plural], last))
        tells = partial(requests.line, bare=requests.metadata_only(request))
        if last < self.store.oldest:
            gone = requests.status(ApiError(410, "Expired", f"too old resource version: {last}"))
            await answer.write(requests.line("ERROR", gone))
            return
        known = {
            each["metadata"]["uid"]
            for each in self.store.found(plural, asked.namespace)
            if wanted(each)
        }
        while True:
            news = self._news
            for change in [each for each in self.store.changes if each.version > last]:
                last = change.version
                meta = change.object["metadata"]
                if change.plural != plural or asked.namespace not in (None, meta["namespace"]):
                    continue
                if wanted(change.object):
                    known.add(meta["uid"])
                    await answer.write(tells(change.type, change.object))
                elif meta["uid"] in known:  # a selector finds it no more
                    known.discard(meta["uid"])
                    await answer.write(tells("DELETED", change.object))
            await news.wait()
