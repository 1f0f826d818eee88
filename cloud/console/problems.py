"""Answers that say why a request was not followed: problem+json, RFC 9457."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from cloud.console.sources import ImpossibleError
from cloud.console.store import UnknownError
from edgeloop.errors import ConfigError, EdgeloopError, RunError, UnavailableError
from edgeloop.remote.models import Problem
from edgeloop.runtime import wording

TYPE = "application/problem+json"

_MEANINGS = {
    400: "The request cannot be understood",
    401: "A token is needed",
    403: "The role does not suffice",
    404: "There is no such thing",
    409: "It cannot be done as things are",
    413: "The request is too large",
    422: "A field of the request is wrong",
    503: "Something that is needed is away",
}

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    code: {
        "description": text,
        "content": {TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code, text in _MEANINGS.items()
}
"""What every route may answer besides what it is for."""


def answer(code: int, detail: str, field: str = "", remedy: str = "") -> Response:
    """Return an answer that says a problem."""
    return Response(_body(code, detail, field, remedy), code, media_type=TYPE)


def of_guard(code: int, detail: str) -> tuple[bytes, bytes]:
    """Return the type and the body of an answer of who lets nobody in."""
    return TYPE.encode(), _body(code, detail, "", "")


def register(api: FastAPI) -> None:
    """Have an application say its errors so."""

    @api.exception_handler(EdgeloopError)
    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, EdgeloopError)  # noqa: S101 - as it is registered
        return answer(code_of(error), error.problem, error.field, error.remedy)

    @api.exception_handler(RequestValidationError)
    def unreadable(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as it is registered
        place, problem, remedy = wording.first_finding(error.errors())
        field = ".".join(str(each) for each in place).encode("ascii", "backslashreplace").decode()
        return answer(422, _plain(problem), field[:200], _plain(remedy))

    @api.exception_handler(HTTPException)
    def none_such(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
        lost = error.status_code == 404
        detail = "is no path of this server" if lost else str(error.detail)
        remedy = "check names and URL: a name is letters, digits and . _ -" if lost else ""
        found = answer(error.status_code, detail, remedy=remedy)
        found.headers.update(error.headers or {})
        return found


def code_of(error: EdgeloopError) -> int:
    """Return the code of an answer to whom an error is to be said."""
    kinds: list[tuple[type[EdgeloopError], int]] = [
        (UnavailableError, 503),
        (UnknownError, 404),
        (ImpossibleError, 409),
        (ConfigError, 422),
        (RunError, 409),  # a damaged file
    ]
    return next((code for kind, code in kinds if isinstance(error, kind)), 500)


def _plain(text: str) -> str:
    """Return words of ours only: what was sent may be no text."""
    return text if text.isascii() else "is wrong"


def _body(code: int, detail: str, field: str, remedy: str) -> bytes:
    title = _MEANINGS.get(code) or HTTPStatus(code).phrase
    problem = Problem(title=title, status=code, detail=detail, field=field, remedy=remedy)
    return problem.model_dump_json().encode()
