"""Asks a server: `edgeloop.connect(url, token=...)` returns what does."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import urllib3
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import HTTPError

from edgeloop.errors import ConfigError, EdgeloopError, InputError, UnavailableError
from edgeloop.remote.models import (
    Act,
    AuditEntry,
    Caller,
    Device,
    Knowledge,
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
from edgeloop.remote.new_task import NewTask
from edgeloop.remote.rollouts import File, NewRollout, Rollout, RolloutDevice, RolloutVerb

M = TypeVar("M", bound=BaseModel)

API = "/api/v1"
ACT_SECONDS = 120.0
"""For an act: an eviction waits for the end of a round."""


class ForbiddenByRoleError(InputError):
    """The token's role does not allow what was asked, or there is no such token."""


def connect(
    url: str, *, token: str | None = None, ca_file: str | Path | None = None, seconds: float = 30.0
) -> "Console":
    """Return a client of a server; it is asked nothing yet.

    Args:
        url: of the server, such as http://127.0.0.1:8600.
        token: as `edgeloop ca http-token` printed it; EDGELOOP_TOKEN if not given.
        ca_file: whose certificate the server may show, PEM; this machine's own list if not given.
        seconds: that an answer may take.

    Raises:
        ConfigError: if the URL, the token or the time is none.
    """
    if not isinstance(url, str):
        raise ConfigError("url", f"{url!r} is no text", "write it like http://127.0.0.1:8600")
    given = token or os.environ.get("EDGELOOP_TOKEN", "")
    if not isinstance(given, str):
        raise ConfigError("token", f"is {type(given).__name__}, and no text", "give a str")
    if not seconds > 0:
        raise ConfigError("seconds", f"{seconds:g} is no time to wait", "give more than 0")
    return Console(url, given.strip(), ca_file, seconds)


class Console:
    """A client of a server; any thread may use it.

    All methods raise an UnavailableError if the server, or something that it needs, is away; a
    `ForbiddenByRoleError` if the token does not allow it; an InputError if it cannot be done.

    Args:
        url: of the server.
        token: whose role says what may be done.
        ca_file: whose certificate the server may show, PEM.
        seconds: that an answer may take.
    """

    def __init__(self, url: str, token: str, ca_file: str | Path | None, seconds: float) -> None:
        if not url.startswith(("http://", "https://")) or any(each.isspace() for each in url):
            remedy = "write it like http://127.0.0.1:8600"
            raise ConfigError("url", f"{url[:80]!r} is no URL of a server", remedy)
        if not (token.isascii() and token.isprintable()):
            raise ConfigError("token", "is none", "give one that edgeloop ca http-token printed")
        self._url, self._token = url.rstrip("/"), token
        ca = None if ca_file is None else str(ca_file)
        self._pool = urllib3.PoolManager(timeout=seconds, retries=False, ca_certs=ca)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Part from the server."""
        self._pool.clear()

    def caller(self) -> Caller:
        """Return whose the token is."""
        return self._one(Caller, "/caller")

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks, by their names."""
        return self._all(Page[Task], "/tasks", {})

    def task(self, task: str) -> Task:
        """Return a task."""
        return self._one(Task, f"/tasks/{_word(task)}")

    def runs(self, task: str) -> Iterator[Run]:
        """Yield a task's runs."""
        return self._all(Page[Run], f"/tasks/{_word(task)}/runs", {})

    def rounds(self, run: str) -> Iterator[Round]:
        """Yield the closed rounds of a run, from the first."""
        return self._all(Page[Round], f"/runs/{_word(run)}/rounds", {})

    def devices(self, task: str | None = None, state: str | None = None) -> Iterator[Device]:
        """Yield devices, of a task or of all, in a state or in any."""
        return self._all(Page[Device], "/devices", {"task": task, "state": state})

    def device(self, task: str, device: str) -> Device:
        """Return a device of a task."""
        return self._one(Device, f"/tasks/{_word(task)}/devices/{_word(device)}")

    def models(self, task: str | None = None) -> Iterator[Model]:
        """Yield the files that tasks have made."""
        return self._all(Page[Model], "/models", {"task": task})

    def refusals(self, task: str | None = None) -> Iterator[Refusal]:
        """Yield answers that were not taken, the newest first."""
        return self._all(Page[Refusal], "/refusals", {"task": task})

    def knowledge(self, task: str) -> Knowledge:
        """Return of which rounds is kept what a task has exchanged."""
        return self._one(Knowledge, f"/tasks/{_word(task)}/knowledge")

    def round_knowledge(self, task: str, round_number: int) -> RoundKnowledge:
        """Return what a round of a task has exchanged."""
        return self._one(RoundKnowledge, f"/tasks/{_word(task)}/knowledge/{round_number}")

    def image(self, task: str, round_number: int, label: int) -> bytes:
        """Return the generated image of a class that a round has led to, as PNG."""
        place = f"/tasks/{_word(task)}/knowledge/{round_number}/images/{label}"
        return bytes(self._ask("GET", API + place).data)

    def rollouts(self, task: str | None = None) -> Iterator[Rollout]:
        """Yield roll-outs, the newest first."""
        return self._all(Page[Rollout], "/rollouts", {"task": task})

    def rollout(self, rollout: str) -> Rollout:
        """Return a roll-out and its groups."""
        return self._one(Rollout, f"/rollouts/{_word(rollout)}")

    def rollout_devices(self, rollout: str, state: str | None = None) -> Iterator[RolloutDevice]:
        """Yield the devices of a roll-out, by their names."""
        path = f"/rollouts/{_word(rollout)}/devices"
        return self._all(Page[RolloutDevice], path, {"state": state})

    def upload(self, content: bytes) -> File:
        """Give the server a file that is to be rolled out."""
        return self._one(File, "/files", "POST", content, "application/octet-stream")

    def create_rollout(self, asked: NewRollout) -> Rollout:
        """Roll something out, or get that ready; its file was uploaded before."""
        body = asked.model_dump_json(exclude_none=True).encode()
        return self._one(Rollout, "/rollouts", "POST", body)

    def act_on_rollout(self, rollout: str, verb: RolloutVerb) -> Rollout:
        """Pause a roll-out, resume or begin it, stop it for good, or have its devices go back."""
        return self._one(Rollout, f"/rollouts/{_word(rollout)}/{verb}", "POST")

    def audit(self) -> Iterator[AuditEntry]:
        """Yield what was done and refused, the newest first; for admins."""
        return self._all(Page[AuditEntry], "/audit", {})

    def create_task(self, asked: NewTask) -> Act:
        """Make a task, in the stack or in a namespace of the cluster; for admins."""
        return self._one(Act, "/tasks", "POST", asked.model_dump_json().encode())

    def start(self, task: str) -> Act:
        """Have a task run."""
        return self._act(task, "start")

    def pause(self, task: str) -> Act:
        """Stop a task's aggregator; its devices wait."""
        return self._act(task, "pause")

    def resume(self, task: str) -> Act:
        """Have a paused task go on."""
        return self._act(task, "resume")

    def cancel(self, task: str) -> Act:
        """Stop a task for good."""
        return self._act(task, "cancel")

    def evict(self, task: str, device: str) -> Act:
        """Exclude a device from a task; what it has contributed stays."""
        return self._one(Act, f"/tasks/{_word(task)}/devices/{_word(device)}/evict", "POST")

    def changes(self) -> Iterator[tuple[str, ...]]:
        """Yield the names of tasks that have changed, as they do, without end."""
        while True:
            answer = self._ask("GET", f"{API}/events", preload=False)
            try:
                yield from _changes(answer)
            except HTTPError as error:
                raise self._away(error) from error
            finally:
                answer.release_conn()

    def _act(self, task: str, verb: Verb) -> Act:
        return self._one(Act, f"/tasks/{_word(task)}/{verb}", "POST")

    def _one(
        self,
        kind: type[M],
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        form: str = "application/json",
    ) -> M:
        return self._read(kind, self._ask(method, API + path, body=body, form=form).data)

    def _all(self, kind: type[Page[M]], path: str, which: Mapping[str, str | None]) -> Iterator[M]:
        asked = {key: value for key, value in which.items() if value is not None}
        while True:
            query = urlencode({"limit": "500", **asked})
            page = self._one(kind, f"{path}?{query}")
            yield from page.items
            if page.next is None:
                return
            asked["after"] = page.next

    def _read(self, kind: type[M], body: bytes) -> M:
        try:
            return kind.model_validate_json(body)
        except ValidationError as error:
            remedy = "see that the URL is an edgeloop server's, and as new as this edgeloop"
            raise InputError(self._url, "answers something else", remedy) from error

    def _ask(
        self,
        method: str,
        path: str,
        preload: bool = True,
        body: bytes | None = None,
        form: str = "",
    ) -> urllib3.BaseHTTPResponse:
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        more: dict[str, Any] = {"timeout": ACT_SECONDS} if method == "POST" else {}
        if body is not None:
            headers["content-type"] = form
            more["body"] = body
        try:
            answer = self._pool.request(
                method, self._url + path, headers=headers, preload_content=preload, **more
            )
        except HTTPError as error:
            raise self._away(error) from error
        if answer.status != 200:
            raise self._problem(answer.status, answer.data)
        return answer

    def _away(self, error: HTTPError) -> UnavailableError:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        remedy = "start edgeloop server, or see that the URL is its own"
        return UnavailableError(self._url, f"does not answer ({reason[:200]})", remedy)

    def _problem(self, code: int, body: bytes) -> EdgeloopError:
        try:
            told = Problem.model_validate_json(body)
        except ValidationError:
            told = Problem(title="", status=code, detail=f"answers with {code}")
        field = told.field or self._url
        if code in (401, 403):
            remedy = told.remedy or "give a token of that role: edgeloop ca http-token makes one"
            return ForbiddenByRoleError(field, told.detail, remedy)
        kind: Callable[[str, str, str], EdgeloopError] = (
            UnavailableError if code in (502, 503, 504) else InputError
        )
        return kind(field, told.detail, told.remedy or "see the server's log")


def _changes(answer: urllib3.BaseHTTPResponse) -> Iterator[tuple[str, ...]]:
    rest = b""
    for part in answer.stream(1):  # a byte: more would be waited for
        rest += part
        if not rest.endswith(b"\n"):
            continue
        line, rest = rest.strip(), b""
        if line.startswith(b"data: "):
            yield tuple(str(each) for each in json.loads(line.removeprefix(b"data: ")))


def _word(text: str) -> str:
    """Return a name as a part of a path."""
    return quote(text, safe="") or "-"
