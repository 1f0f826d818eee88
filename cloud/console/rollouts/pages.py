"""The pages of roll-outs."""

from typing import Any, get_args

from fastapi import FastAPI, Request
from fastapi.responses import Response

from cloud.console.actor import actor
from cloud.console.pages import Pages, checked, done
from cloud.console.parameters import After, Asked, Name, State
from cloud.console.rollouts.service import Rollouts
from edgeloop.remote.rollouts import DeviceState, RolloutState, RolloutVerb

_ON_A_PAGE, _ROLLOUTS = 100, 20
"""Devices, and roll-outs, whose devices are all counted."""

ALLOWED: dict[RolloutState, tuple[RolloutVerb, ...]] = {
    "ready": ("resume", "stop"),
    "running": ("pause", "stop", "rollback"),
    "paused": ("resume", "stop", "rollback"),
    "succeeded": ("rollback",),
    "stopped": ("rollback",),
    "rolled back": (),
}
"""What a page offers for a roll-out in each state."""


def add(api: FastAPI, pages: Pages, rollouts: Rollouts) -> None:
    """Add the pages to an application."""
    kept = rollouts.rollouts

    @api.get("/rollouts", include_in_schema=False)
    def listed(request: Request, task: Asked = None, after: After = None) -> Response:
        found = kept.page(task, after, _ROLLOUTS)
        return pages.page(request, "rollouts.html", found=found, task=task)

    @api.get("/rollouts/{rollout}", include_in_schema=False)
    def shown(
        rollout: Name, request: Request, state: State = None, after: After = None
    ) -> Response:
        found = kept.rollout(rollout)
        return pages.page(
            request,
            "rollout.html",
            found=found,
            devices=kept.devices(rollout, state, after, _ON_A_PAGE),
            verbs=ALLOWED[found.state],
            states=get_args(DeviceState),
            state=state,
        )

    @api.post("/rollouts/{rollout}/{verb}", include_in_schema=False)
    async def acted(rollout: Name, verb: RolloutVerb, request: Request) -> Response:
        def act(name: str, *words: Any) -> str:
            return f"{rollouts.act(name, *words).name}: {rollouts.rollouts.rollout(name).state}"

        way = f"/rollouts/{rollout}"
        allowed = await checked(request)
        return await done(pages, request, allowed, act, (rollout, verb, actor(request)), way)
