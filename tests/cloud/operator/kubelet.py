"""Plays what runs pods: for each StatefulSet with a replica, a pod, and a process or a stand-in.

A real API server without controllers makes no pods either, so the same tests run against one.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import httpx

from tests.cloud.operator.cluster import Cluster, Object


class Container(Protocol):
    """What runs in a pod."""

    def stop(self) -> None:
        """End it."""


@dataclass
class Kubelet:
    """Runs the pods of a cluster from a thread of its own.

    Attributes:
        cluster: whose.
        start: makes what runs in the pod of a StatefulSet.
        rolls: whether a pod whose template has changed is replaced.
        running: by the StatefulSet's name.
    """

    cluster: Cluster
    start: Callable[[Object], Container]
    rolls: bool = False
    running: dict[str, Container] = field(default_factory=dict)
    _templates: dict[str, Object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for container in self.running.values():
            container.stop()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                self._look()
            except httpx.HTTPError:
                time.sleep(0.05)  # a fault that a test has asked for, or a conflict

    def _look(self) -> None:
        sets = {each["metadata"]["name"]: each for each in self.cluster.listed("statefulsets")}
        wanted = {name for name, each in sets.items() if each["spec"]["replicas"]}
        if self.rolls:
            wanted -= {
                name
                for name in self.running.keys() & wanted
                if self._templates[name] != sets[name]["spec"]["template"]
            }
        for name in self.running.keys() - wanted:
            self.running.pop(name).stop()
            self.cluster.delete("pods", f"{name}-0")
        for name in wanted - self.running.keys():
            self.cluster.create("pods", _pod(sets[name]))
            self.cluster.tell("pods", f"{name}-0", {"phase": "Running"})
            self._templates[name] = sets[name]["spec"]["template"]
            self.running[name] = self.start(sets[name])


def _pod(of: Object) -> Object:
    template, name = of["spec"]["template"], of["metadata"]["name"]
    container = {"name": "aggregator", "image": template["spec"]["containers"][0]["image"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-0", "labels": template["metadata"]["labels"]},
        "spec": {"containers": [container]},
    }


def failed(restarts: int, message: str, code: int = 2) -> dict[str, Any]:
    """Return the status of a pod whose container has ended so often, the last time like this."""
    ended = {"exitCode": code, "reason": "Error", "message": message}
    container = {
        "name": "aggregator",
        "image": "i",
        "imageID": "",
        "ready": False,
        "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": ended},
    }
    return {"phase": "Running", "containerStatuses": [container]}
