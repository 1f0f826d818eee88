"""A Ray cluster, and runs on it: each a task in a worker; a lost worker's run resumes elsewhere.

A run's folder is where it continues from, so all machines must see one file system at one path. One
run's clients on a cluster are `cluster_cohort`'s.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from edgeloop.errors import ConfigError, EdgeloopError, UnavailableError

Key = TypeVar("Key", bound=Hashable)
Summary = dict[str, Any]

LOCAL = "local"
"""The address that starts a cluster of this machine's cores, for as long as the command runs."""

RETRIES = 5
"""How often a run whose worker was lost is tried again."""

PATIENCE_SECONDS = 5.0
"""How long to try a cluster's address."""

MEMORY_BYTES = 100_000_000
"""Of a local cluster's object store where summaries alone go through it."""


@contextmanager
def join_cluster(address: str, workers: int | None, memory: int = MEMORY_BYTES) -> Iterator[Any]:
    """Join a cluster, or start one here; leave it, or stop that, in the end.

    Args:
        address: host:port, ray://host:port, auto, or `LOCAL`.
        workers: cores of a local one; None for all.
        memory: bytes of a local one's object store; what is more lies on the disk.

    Yields:
        the module `ray`.

    Raises:
        ConfigError: if Ray is not installed, or there is no cluster at the address.
    """
    ray = _ray()
    here = {"num_cpus": workers or os.cpu_count(), "object_store_memory": memory}
    own = {**here, "include_dashboard": False} if address == LOCAL else {}
    try:
        _reach(address)
        with _own_signals():
            ray.init(address=address, **own, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        problem = f"there is no Ray cluster at {address} ({reason})"
        remedy = "give the host:port that `ray start --head` names, or local"
        raise ConfigError("cluster", problem, remedy) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does here: Ray has it end the process in a way of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _reach(address: str) -> None:
    """See that somebody listens at an address: Ray itself tries for many minutes.

    Raises:
        OSError: if nobody does.
        ValueError: if it is none.
    """
    if address in (LOCAL, "auto"):
        return
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    if not parts.hostname or not parts.port:
        raise ValueError("no host:port")
    socket.create_connection((parts.hostname, parts.port), PATIENCE_SECONDS).close()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of a run leaves the cluster
    try:
        import ray  # an extra of its own
    except ImportError as error:
        problem = "needs Ray, which is not installed"
        raise ConfigError("cluster", problem, "pip install 'edgeloop[ray]'") from error
    return ray


def run_tasks(
    tasks: Mapping[Key, Callable[[], Summary]],
    address: str,
    workers: int | None,
    done: Callable[[Key, Summary], None],
) -> None:
    """Run tasks on a cluster, a core each.

    Args:
        tasks: by any name; picklable, and able to continue with what a lost worker left.
        address: as of `join_cluster`.
        workers: tasks at a time; None for as many as the cluster has cores.
        done: called with each result.

    Raises:
        ConfigError: as `join_cluster`.
        UnavailableError: if the cluster has lost a task for good.
        InputError: as the task.
    """
    with join_cluster(address, workers) as ray:
        remote = ray.remote(_call).options(num_cpus=1, max_retries=RETRIES)
        waiting = list(tasks)
        running: dict[Any, Key] = {}
        while waiting or running:
            while waiting and (workers is None or len(running) < workers):
                key = waiting.pop(0)
                running[remote.remote(tasks[key])] = key
            finished, _ = ray.wait(list(running))
            for reference in finished:
                done(running.pop(reference), _result(ray, reference))


def _call(task: Callable[[], Summary]) -> Summary:
    return task()


def _result(ray: Any, reference: Any) -> Summary:
    """Return a task's result, or raise its error as it was in the worker."""
    try:
        result: Summary = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, EdgeloopError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        problem = f"has lost a run, tried {RETRIES + 1} times at most ({type(error).__name__})"
        remedy = "see Ray's logs, and run the command again"
        raise UnavailableError("cluster", problem, remedy) from error
    return result
