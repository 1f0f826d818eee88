"""Roll-outs over the API: files are given first, then what to do with them."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from cloud.console.actor import actor
from cloud.console.parameters import After, Asked, Limit, Name
from cloud.console.rollouts.service import Rollouts
from edgeloop.protocol import wire
from edgeloop.remote.models import Page
from edgeloop.remote.rollouts import File, NewRollout, Rollout, RolloutDevice, RolloutVerb

FILES = "/files"
MOST_FILE_BYTES = wire.MAX_FRAME

_BYTES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_State = Annotated[
    str | None, Query(pattern=r"^[a-z ]{1,16}$", description="What has become of it there")
]
_Verb = Annotated[RolloutVerb, Path(description="What to do")]


def add(router: APIRouter, rollouts: Rollouts) -> None:
    """Add the routes."""
    _reading(router, rollouts)
    _acting(router, rollouts)


def _reading(router: APIRouter, rollouts: Rollouts) -> None:
    @router.get("/rollouts")
    def listed(task: Asked = None, after: After = None, limit: Limit = 100) -> Page[Rollout]:
        """List roll-outs, the newest first."""
        return rollouts.rollouts.page(task, after, limit)

    @router.get("/rollouts/{rollout}")
    def shown(rollout: Name) -> Rollout:
        """Show a roll-out and its groups."""
        return rollouts.rollouts.rollout(rollout)

    @router.get("/rollouts/{rollout}/devices")
    def devices(
        rollout: Name, state: _State = None, after: After = None, limit: Limit = 100
    ) -> Page[RolloutDevice]:
        """List the devices of a roll-out, by their names, and what has become of it there."""
        rollouts.rollouts.rollout(rollout)
        return rollouts.rollouts.devices(rollout, state, after, limit)


def _acting(router: APIRouter, rollouts: Rollouts) -> None:
    @router.post(FILES, openapi_extra=_BYTES)
    async def given(request: Request) -> File:
        """Take a file that is to be rolled out: a model or a base, as its bytes."""
        return await asyncio.to_thread(rollouts.files.keep, await request.body())

    @router.post("/rollouts")
    def created(asked: NewRollout, request: Request) -> Rollout:
        """Roll something out, or get that ready."""
        return rollouts.create(asked, actor(request))

    @router.post("/rollouts/{rollout}/{verb}")
    def acted(rollout: Name, verb: _Verb, request: Request) -> Rollout:
        """Pause a roll-out, resume or begin it, stop it for good, or have its devices go back."""
        return rollouts.act(rollout, verb, actor(request))
