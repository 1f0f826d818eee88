"""The page of what a task has exchanged: images by round, a map of prototypes, margins, losses."""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from cloud.console import charts
from cloud.console.api import PREFIX
from cloud.console.knowledge import Knowledge, Map, class_name
from cloud.console.pages import Pages, closed_rounds
from cloud.console.parameters import Name
from cloud.console.store import Store
from edgeloop.errors import EdgeloopError

PALETTE = (
    *("#3f88c5", "#f08c2e", "#3fa34d", "#d64545", "#9467bd"),
    *("#a3705c", "#e377c2", "#808080", "#b5a91f", "#1fb5c4"),
)
"""Of classes: each to be seen on light and on dark ground."""

WIDTH, HEIGHT, EDGE = 400.0, 400.0, 14.0

Shown = Annotated[int | None, Query(alias="round", ge=0, lt=1 << 31)]


def add(api: FastAPI, store: Store, knowledge: Knowledge) -> None:
    """Add the page to an application.

    Args:
        api: the application.
        store: what is known.
        knowledge: what tasks have exchanged.
    """
    pages = Pages(store)

    @api.get("/tasks/{task}/knowledge", include_in_schema=False)
    def shown(task: Name, request: Request, number: Shown = None) -> Response:
        found = store.task(task)
        facts = _facts(knowledge, task, number)
        losses = charts.losses(closed_rounds(store, found))
        return pages.page(request, "knowledge.html", task=found, losses=losses, **facts)


def _facts(knowledge: Knowledge, task: str, number: int | None) -> dict[str, Any]:
    """Return what the page shows of a round: the nearest one that is kept, if this one is not."""
    facts: dict[str, Any] = {"kept": (), "chosen": None, "told": None, "marks": (), "problem": ""}
    try:
        kept = knowledge.kept(task)
        if not kept.rounds:
            return facts
        wanted = kept.rounds[-1] if number is None else number
        chosen = min(kept.rounds, key=lambda each: abs(each - wanted))
        facts |= {"kept": kept.rounds, "chosen": chosen}
        facts |= {"told": knowledge.told(task, chosen), "api": PREFIX}
        facts |= _drawn(knowledge.map(task, chosen), kept.class_names)
    except EdgeloopError as error:
        facts["problem"] = str(error)
    names = kept.class_names if facts["kept"] else ()
    told = facts["told"]
    images = () if told is None else range(told.images)
    return facts | {"images": [(label, class_name(names, label)) for label in images]}


def _drawn(found: Map | None, names: tuple[str, ...]) -> dict[str, Any]:
    if found is None:
        return {"marks": (), "legend": (), "share": 0.0}
    marks = [
        {
            "x": round(EDGE + each.x * (WIDTH - 2 * EDGE), 1),
            "y": round(EDGE + each.y * (HEIGHT - 2 * EDGE), 1),
            "colour": _colour(each.label),
            "title": f"{each.owner or 'broadcast'}, {class_name(names, each.label)}",
            "sent": bool(each.owner),
        }
        for each in found.marks
    ]
    labels = sorted({each.label for each in found.marks})
    legend = [(class_name(names, label), _colour(label)) for label in labels]
    return {"marks": marks, "legend": legend, "share": found.share}


def _colour(label: int) -> str:
    return PALETTE[label] if label < len(PALETTE) else f"hsl({label * 47 % 360} 60% 50%)"
