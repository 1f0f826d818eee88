"""Tasks, some at a time, in processes of this machine; `cluster` does it on many machines."""

import os
import traceback
from collections.abc import Callable, Hashable, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from edgeloop.errors import EdgeloopError
from edgeloop.runtime.worker_processes import Worker, worker_processes

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


def run_tasks(
    tasks: Mapping[Key, Callable[[], Result]],
    workers: int | None,
    done: Callable[[Key, Result], None],
) -> None:
    """Run tasks in processes, each of which does one after another.

    Args:
        tasks: by any name; picklable.
        workers: tasks at a time; None for one a core.
        done: called with each result.

    Raises:
        RunError: if a process was killed.
        Exception: as the first task that fails, or `done`; nothing else begins then, and what is
            under way is stopped.
    """
    waiting = iter(tasks.items())
    busy: dict[Any, tuple[Worker, Key]] = {}

    def give(worker: Worker) -> None:
        for key, task in waiting:
            busy[worker.end] = worker, key
            worker.send(task)
            return

    with worker_processes(_work, [()] * min(workers or os.cpu_count() or 1, len(tasks))) as team:
        for worker in team:
            give(worker)
        while busy:
            for end in wait(list(busy)):
                worker, key = busy.pop(end)
                result = _received(worker)
                give(worker)
                done(key, result)


def _received(worker: Worker) -> Any:
    result, error = worker.receive()
    if error is not None:
        raise error
    return result


def _work(end: "Connection[Any, Any]") -> None:
    while True:
        end.send(_outcome(end.recv()))


def _outcome(task: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return task(), None
    except EdgeloopError as error:
        return None, error
    except Exception as error:  # whatever it is, it is raised where the task came from
        error.add_note(f"in a worker process:\n{traceback.format_exc()}")
        return None, error
