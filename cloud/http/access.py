"""Who may ask what over HTTP: bearer tokens with roles, certificates, hosts, and sizes.

A file of tokens has a line for each: a role, a name, and the token's SHA-256. `viewer` reads,
`operator` acts on devices, `admin` does everything. The file is read again when it changes.
"""

import asyncio
import enum
import hashlib
import json
import logging
import re
import threading
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cloud.http.connections import CERTIFICATE
from cloud.http.new_tokens import new_token as new_token
from edgeloop.errors import ConfigError, EdgeloopError
from edgeloop.runtime.pace import LogRateLimiter

log = logging.getLogger(__name__)

MOST_BODY_BYTES = 64 * 1024
"""Of a request; what is larger is not read."""

MOST_TOKEN_BYTES = 512
_LINE = re.compile(
    r"(viewer|operator|admin)\s+([A-Za-z0-9][A-Za-z0-9._@-]{0,63})\s+sha256:([0-9a-f]{64})"
)

HEALTH = ("/healthz", "/readyz")
"""For everybody, by whatever name."""

Scope = MutableMapping[str, Any]


class Role(enum.IntEnum):
    """What somebody may do; each may also do what is before it."""

    nobody = 0
    viewer = 1
    operator = 2
    admin = 3


class Caller(NamedTuple):
    """Who asks.

    Attributes:
        name: as the file of tokens has it; "-" of one who has shown nothing.
        role: what they may do.
    """

    name: str
    role: Role


UNKNOWN = Caller("-", Role.nobody)

CALLER = "edgeloop.caller"
"""Key of a request's scope: who asks."""


class Tokens:
    """A file of tokens; any thread may ask.

    Args:
        path: of the file; None for none: then nobody is known by a token.

    Raises:
        ConfigError: if it cannot be read, or a line is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._reading = path, threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._known: dict[str, Caller] = {}
        if path is not None:
            self._seen, self._known = _stamp(path), read_tokens(path)

    def whose(self, token: str) -> Caller:
        """Return whose a token is; `UNKNOWN` if nobody's."""
        self._read_again()
        return self._known.get(hashlib.sha256(token.encode()).hexdigest(), UNKNOWN)

    def _read_again(self) -> None:
        """Take up the file if it has changed; one that cannot be read changes nothing."""
        if self._path is None:
            return
        with self._reading:
            try:
                stamp = _stamp(self._path)
                if stamp != self._seen:
                    self._known, self._seen = read_tokens(self._path), stamp
            except ConfigError as error:
                log.warning("%s; those of before hold until then", error)


def read_tokens(path: Path) -> dict[str, Caller]:
    """Read a file of tokens, by their digests.

    Raises:
        ConfigError: if it cannot be read, or a line is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "give a readable file") from error
    known = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            remedy = "write it as edgeloop ca http-token prints it: viewer NAME sha256:..."
            raise ConfigError(f"{path}: line {number}", "is no token", remedy)
        known[found[3]] = Caller(found[2], Role[found[1]])
    return known


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error})", "give a readable file") from error
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


def plain_refusal(code: int, problem: str) -> tuple[bytes, bytes]:
    """Return the type and the body of an answer that refuses, in JSON."""
    return b"application/json", json.dumps({"problem": problem}).encode()


@dataclass(frozen=True)
class Rules:
    """Who may ask what.

    Attributes:
        needed: the role that a method and a path need.
        tokens: who is known.
        hosts: that a request may name, without ports; all if empty.
        of_certificate: who shows a certificate, DER, that TLS has verified; on any thread.
        note: told, on any thread, of refusals, some of each kind: who, the kind, what was asked,
            and why not.
        answer: makes the answer of a refusal, of its code and why: its type and its body.
        most_bytes: of a request's body, by its method and its path.
    """

    needed: Callable[[str, str], Role]
    tokens: Tokens
    hosts: frozenset[str] = frozenset()
    of_certificate: Callable[[bytes], Caller] = lambda der: UNKNOWN
    note: Callable[[str, str, str, str], None] = lambda who, act, what, why: None
    answer: Callable[[int, str], tuple[bytes, bytes]] = plain_refusal
    most_bytes: Callable[[str, str], int] = lambda method, path: MOST_BODY_BYTES


class Guard:
    """An ASGI application in front of another: asks who somebody is before anything is read.

    Args:
        app: the one behind.
        rules: who may ask what.
    """

    def __init__(self, app: Any, rules: Rules) -> None:
        self._app, self._rules = app, rules
        self._told = LogRateLimiter()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        caller = await self._caller(scope, headers)
        refusal = self._refusal(scope, headers, caller)
        if refusal is None:
            most = self._rules.most_bytes(scope["method"], scope["path"])
            body = await _read_body(receive, most)
            if body is not None:
                await self._app({**scope, CALLER: caller}, _Body(body, receive), send)
                return
            refusal = (413, f"the body has more than {most} bytes")
        await asyncio.to_thread(self._tell, scope, caller, *refusal)
        await _answer(send, refusal[0], *self._rules.answer(*refusal))

    async def _caller(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and 0 < len(token) <= MOST_TOKEN_BYTES:
            found = self._rules.tokens.whose(token.strip().decode("latin-1"))
            if found.role:
                return found
        certificate = scope.get(CERTIFICATE, b"")
        if not certificate or not self._rules.needed(scope["method"], scope["path"]):
            return UNKNOWN
        try:
            return await asyncio.to_thread(self._rules.of_certificate, certificate)
        except EdgeloopError as error:  # the database is away: nobody is known by a certificate
            log.warning("cannot tell who shows a certificate: %s", error)
            return UNKNOWN

    def _refusal(
        self, scope: Scope, headers: dict[bytes, bytes], caller: Caller
    ) -> tuple[int, str] | None:
        needed = self._rules.needed(scope["method"], scope["path"])
        if scope["path"] in HEALTH:
            return None  # a health check asks by an address
        host = _host(headers.get(b"host", b"").decode("latin-1"))
        if self._rules.hosts and host not in self._rules.hosts:
            return 400, f"the host {host[:80]!r} is not one of this service"
        if caller.role >= needed:
            return None
        if caller.role is Role.nobody:
            return 401, f"a token is needed, whose role is {needed.name} or above"
        return 403, f"the role of {caller.name} is {caller.role.name}, and {needed.name} is needed"

    def _tell(self, scope: Scope, caller: Caller, code: int, why: str) -> None:
        who = f"{caller.name} at {address(scope)}"
        what = f"{scope['method']} {scope['path'][:200]}"
        if self._told.allowed(str(code)):
            log.warning("refused %s of %s: %s", what, who, why)
            try:
                self._rules.note(who, f"http {code}", what, why)
            except EdgeloopError as error:
                log.warning("a refusal is not written down: %s", error)


def address(scope: Scope) -> str:
    """Return the address of who asks."""
    return str((scope.get("client") or ("-",))[0])


def allowed_hosts(names: Sequence[str]) -> frozenset[str]:
    """Return names and addresses as a request's `Host` has them, and this machine's own."""
    return frozenset(each.casefold() for each in (*names, "localhost", "127.0.0.1", "::1"))


def _host(header: str) -> str:
    """Return a Host header without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].casefold()
    return header.partition(":")[0].casefold()


async def _read_body(receive: Any, most: int) -> bytes | None:
    """Return a request's body; None if it is too large."""
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return bytes(body)
        body += event.get("body", b"")
        if len(body) > most:
            return None
        if not event.get("more_body", False):
            return bytes(body)


class _Body:
    """A body that was read, given once more; then whatever comes."""

    def __init__(self, body: bytes, receive: Any) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Any:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _answer(send: Any, code: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind)]
    if code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
