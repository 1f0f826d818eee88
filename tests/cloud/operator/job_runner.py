"""Plays what runs jobs: each job's command, as a process of this machine, once."""

import subprocess
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx

from tests import forked
from tests.cloud.operator.cluster import Cluster, Object


class JobRunner:
    """Runs the jobs of a cluster from a thread of its own.

    Args:
        cluster: whose.
        program: that "edgeloop" stands for.
        places: what is mounted in a job's container -> where it is on this machine.
    """

    def __init__(
        self, cluster: Cluster, program: str, places: Mapping[str, Path] | None = None
    ) -> None:
        self._cluster, self._program, self._places = cluster, program, places or {}
        self.ran: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                for job in self._cluster.listed("jobs"):
                    if job["metadata"]["uid"] not in self.ran:
                        self.ran.append(job["metadata"]["uid"])
                        self._start(job)
            except httpx.HTTPError:
                time.sleep(0.05)

    def _start(self, job: Object) -> None:
        _, *command = job["spec"]["template"]["spec"]["containers"][0]["command"]
        command = [str(self._places.get(each, each)) for each in command]
        done = self._done([self._program, *command])
        name = job["metadata"]["name"]
        if done.returncode:
            labels = {**job["spec"]["template"]["metadata"]["labels"], "job-name": name}
            pod = {"metadata": {"name": f"{name}-x", "labels": labels}}
            container = {"name": "writer", "image": "i"}
            self._cluster.create("pods", {**pod, "spec": {"containers": [container]}})
            self._cluster.tell("pods", f"{name}-x", _ended(done.returncode, done.stderr))
        self._cluster.tell("jobs", name, _status(done.returncode == 0))

    def _done(self, words: list[str]) -> "subprocess.CompletedProcess[str]":
        if Path(self._program).name == "edgeloop":
            return forked.run(words)
        return subprocess.run(words, capture_output=True, text=True)


def _ended(code: int, message: str) -> Object:
    ended = {"exitCode": code, "reason": "Error", "message": message[-2000:]}
    container = {"name": "writer", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    return {
        "phase": "Failed",
        "containerStatuses": [{**container, "state": {"terminated": ended}}],
    }


def _status(succeeded: bool) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kinds = ("SuccessCriteriaMet", "Complete") if succeeded else ("FailureTarget", "Failed")
    times = {"startTime": now} | ({"completionTime": now} if succeeded else {})
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]
    return {**times, "succeeded" if succeeded else "failed": 1, "conditions": conditions}
