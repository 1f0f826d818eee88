"""Reads a task from an `edgeloop server`, over its API."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from edgeloop.errors import ConfigError, InputError
from edgeloop.showing import pictures
from edgeloop.showing.rounds import Array, Round
from simulations.report.aggregated import Agreed, Beside, report_data_of
from simulations.report.report_data import Device, ReportData, Timing, Traffic

if TYPE_CHECKING:
    from edgeloop.remote.client import Console
    from edgeloop.remote.models import Round as ClosedRound
    from edgeloop.remote.models import Task

ALL = "all devices"
MOST_CLASSES = 50
"""Whose images are asked for."""


def is_url(text: str) -> bool:
    """Return whether a word of the command line names a server."""
    return text.startswith(("http://", "https://"))


def read_server(url: str, token: str | None, ca_file: str | None = None) -> ReportData:
    """Read a task.

    Args:
        url: of the server, or of a task's page on it; the first will do where it knows one task.
        token: that may read; EDGELOOP_TOKEN if not given.
        ca_file: whose certificate the server may show, PEM.

    Raises:
        ConfigError: if the URL names no task, or the client is not installed.
        EdgeloopError: if the server does not answer so.
    """
    try:
        from edgeloop.remote.client import connect  # its client is an extra's
    except ModuleNotFoundError as error:
        problem = f"needs {error.name}, which is not installed"
        raise ConfigError(url, problem, "pip install 'edgeloop[client]'") from error
    parts = urlsplit(url)
    with connect(f"{parts.scheme}://{parts.netloc}", token=token, ca_file=ca_file) as server:
        task = server.task(_task_name(parts.path, server))
        return _read(server, task)


def _task_name(path: str, server: "Console") -> str:
    words = [unquote(each) for each in path.strip("/").split("/") if each]
    if len(words) >= 2 and words[0] == "tasks":
        return words[1]
    names = [each.name for each in server.tasks()]
    if words or len(names) != 1:
        known = ", ".join(names[:10]) or "none"
        remedy = f"write URL/tasks/NAME; the server knows {known}"
        raise ConfigError("URL", "names no task", remedy)
    return names[0]


def _read(server: "Console", task: "Task") -> ReportData:
    rounds = list(server.rounds(task.run)) if task.run else []
    kept = server.knowledge(task.name)
    devices = list(server.devices(task.name))
    history, shape = _history(server, task.name, kept.rounds)
    agreed = Agreed(
        task=task.name,
        run=task.run,
        algorithm=task.algorithm,
        rounds=task.rounds,
        class_names=kept.class_names,
        shape=shape,
    )
    found = report_data_of(agreed, {}, Beside(), state=task.state)
    last = {} if task.accuracy is None else {len(rounds): task.accuracy}
    return replace(
        found,
        alone={each.number: each.alone for each in rounds if each.alone is not None},
        federated={each.number: each.accuracy for each in rounds if each.accuracy is not None}
        | last,
        devices=tuple(
            Device(each.name, None, None, None, each.alone, each.accuracy) for each in devices
        ),
        history=history,
        traffic=_traffic(rounds),
        timings=(Timing("federated: whole round", {each.number: each.seconds for each in rounds}),)
        if rounds
        else (),
        losses=_losses(rounds),
    )


def _losses(rounds: "Sequence[ClosedRound]") -> dict[str, dict[int, float]]:
    """Return what closed rounds tell of losses, each by its name."""
    found: dict[str, dict[int, float]] = {}
    for each in rounds:
        for name, value in (each.measures or {}).items():
            found.setdefault(name, {})[each.number] = value
    return found


def _traffic(rounds: "Sequence[ClosedRound]") -> dict[str, dict[int, Traffic]]:
    known = {
        each.number: Traffic(each.bytes_up, (each.bytes_down or 0) * each.participants)
        for each in rounds
        if each.bytes_up is not None
    }
    return {ALL: known} if known else {}


def _history(
    server: "Console", task: str, kept: Sequence[int]
) -> tuple[tuple[Round, ...], tuple[int, ...]]:
    """Return rounds with their images, as many as a report shows, and the images' shape."""
    found, shape = [], (0,)
    for number in (kept[place] for place in pictures.evenly_spaced(len(kept))):
        count = min(server.round_knowledge(task, number).images, MOST_CLASSES)
        if not count:
            continue
        try:
            images = [_pixels(server.image(task, number, label)) for label in range(count)]
        except InputError:  # it was removed meanwhile, or is of no shape
            continue
        shape = images[0].shape
        rows_NP = np.stack([each.ravel() for each in images])
        found.append(Round(number, {"broadcast.images_NP": rows_NP}))
    return tuple(found), shape if math.prod(shape) else ()


def _pixels(content: bytes) -> Array:
    """Return a PNG's pixels, channels first."""
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
