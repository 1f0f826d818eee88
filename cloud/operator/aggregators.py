"""Asks an aggregator how far it is, over its HTTP interface."""

import json
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from cloud.operator.status import AggregatorStatus

_LARGEST = 16 << 20  # bytes of an answer; the history of a long run is the largest part


def fetch_status(url: str, seconds: float) -> AggregatorStatus | None:
    """Return what an aggregator tells; None while it does not answer as one does.

    Args:
        url: of its HTTP interface.
        seconds: that each answer may take.
    """
    status = fetched(f"{url}/status", seconds)
    readiness = fetched(f"{url}/readyz", seconds)
    if status is None or readiness is None:
        return None
    try:
        return parse_status(status, readiness)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # somebody else listens there


def parse_status(status: dict[str, Any], readiness: dict[str, Any]) -> AggregatorStatus:
    """Return what the two answers of an aggregator say."""
    history = status["history"]
    accuracy = status["accuracy"]
    epsilon = status.get("epsilon")  # an older aggregator's has none
    return AggregatorStatus(
        run=str(status["run"]),
        finished=status["phase"] == "finished",
        round=int(status["round"]),
        rounds=int(status["rounds"]),
        accuracy=None if accuracy is None else float(accuracy),
        participants=int(history[-1]["participants"]) if history else None,
        epsilon=None if epsilon is None else float(epsilon),
        forgotten=tuple(str(each) for each in status.get("forgotten", ())),
        obstacles=tuple(str(reason) for reason in readiness["reasons"]),
    )


def fetched(url: str, seconds: float) -> dict[str, Any] | None:
    """Return an answer in JSON, an object; None while nobody gives one."""
    timeout = urllib3.Timeout(total=seconds)
    try:
        answer = urllib3.request("GET", url, timeout=timeout, retries=False, preload_content=False)
        try:
            data = answer.read(_LARGEST)
        finally:
            answer.release_conn()
        found = json.loads(data)
    except (HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None
