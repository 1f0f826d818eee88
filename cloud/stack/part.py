"""A part of the stack: what is started, when it is ready, whether its work has an end."""

import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from edgeloop.runtime.ports import listens, reachable


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        name: that its lines begin with.
        command: its command line.
        is_ready: asked while it starts; None if nothing tells.
        ends: whether it ends by itself, with 0, when its work is done.
        is_service: whether it is there for the others only.
        reloads: whether a SIGHUP has it read its files again.
        task: whose part it is; empty for none's.
        pauses: whether it does not run while its task is paused.
        vital: whether the stack ends where it cannot be started.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool] | None = None
    ends: bool = False
    is_service: bool = False
    reloads: bool = False
    task: str = ""
    pauses: bool = False
    vital: bool = True


def listening(host: str, port: int) -> Callable[[], bool]:
    """Return what tells whether somebody listens there."""
    return partial(listens, port, host)


def answering(host: str, port: int, path: str) -> Callable[[], bool]:
    """Return what tells whether an HTTP server answers a path with success."""
    host = reachable(host)
    named = f"[{host}]" if ":" in host else host
    return partial(_answers, f"http://{named}:{port}{path}")


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2.0).close()  # noqa: S310 - ours, http
    except (OSError, urllib.error.URLError):  # an answer of failure is one of these
        return False
    return True
