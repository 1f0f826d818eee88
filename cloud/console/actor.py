"""Who asks, as the record has them."""

from fastapi import Request

from cloud.http.access import CALLER, Caller, address


def actor(request: Request) -> str:
    """Return who asks, for the record."""
    caller: Caller = request.scope[CALLER]
    return f"{caller.name} at {address(request.scope)}"
