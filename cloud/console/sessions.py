"""Who has signed in with a browser: a cookie stands for a token, for pages and for reading.

The API takes no cookie for what changes anything, so that no other site can have a browser do it.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any

from cloud.http.access import HEALTH, Role, Scope, Tokens

COOKIE = "edgeloop_session"
SESSION = "edgeloop.session"
"""Key of a request's scope: the `Session` of its browser."""

LIFE_SECONDS = 12 * 3600.0
MOST = 10_000
_OPEN = ("/login", "/logout", *HEALTH)


@dataclass(frozen=True)
class Session:
    """A browser that has signed in.

    Attributes:
        token: that it has shown.
        form_key: that each form of its pages has.
        ends: when it is over, on the sessions' clock.
    """

    token: str
    ends: float
    form_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))


class Sessions:
    """The browsers that have signed in; they sign in again after a restart. Any thread may ask.

    Args:
        tokens: who is known.
        clock: seconds that never go back.
    """

    def __init__(self, tokens: Tokens, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens, self._clock = tokens, clock
        self._held: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, token: str) -> str | None:
        """Return what a browser's cookie is to say; None if the token is nobody's."""
        if self._tokens.whose(token).role is Role.nobody:
            return None
        key, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            self._held = {k: each for k, each in self._held.items() if each.ends > now}
            while len(self._held) >= MOST:
                del self._held[next(iter(self._held))]
            self._held[key] = Session(token, now + LIFE_SECONDS)
        return key

    def find(self, key: str) -> Session | None:
        """Return a session; None if it is over."""
        with self._lock:
            found = self._held.get(key)
        return found if found is not None and found.ends > self._clock() else None

    def end(self, key: str) -> None:
        """Sign a browser out."""
        with self._lock:
            self._held.pop(key, None)


class SignedIn:
    """An ASGI application in front of a `Guard`: a browser's cookie becomes its token.

    Args:
        app: the guard.
        sessions: who has signed in.
    """

    def __init__(self, app: Any, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on; a browser that asks for a page unknown is sent to sign in."""
        if scope["type"] != "http" or b"authorization" in dict(scope["headers"]):
            await self._app(scope, receive, send)
            return
        session = self._sessions.find(cookie(scope))
        path, reads = scope["path"], scope["method"] in ("GET", "HEAD")
        if session is not None and (reads or not path.startswith("/api/")):
            shown = (b"authorization", f"Bearer {session.token}".encode("latin-1"))
            scope = {**scope, "headers": [*scope["headers"], shown], SESSION: session}
        elif reads and path not in _OPEN and not path.startswith(("/api/", "/static/")):
            await send({"type": "http.response.start", "status": 303, "headers": _TO_LOGIN})
            await send({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, send)


_TO_LOGIN = [(b"location", b"/login"), (b"content-length", b"0")]


def cookie(scope: Scope) -> str:
    """Return what a request's cookie says; empty without one."""
    text = dict(scope["headers"]).get(b"cookie", b"").decode("latin-1")
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value
