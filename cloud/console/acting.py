"""What is done about tasks, each act and each refusal written down."""

from collections.abc import Callable

from cloud.console.following import Follower
from cloud.console.store import Store
from cloud.console.taking import evicted
from edgeloop.errors import EdgeloopError
from edgeloop.remote.models import Act, Verb
from edgeloop.remote.new_task import NewTask


class Actions:
    """Acts on tasks.

    Args:
        store: of the server.
        follower: knows where each task is run, and looks again after an act.
        look_soon: called after an act.
    """

    def __init__(self, store: Store, follower: Follower, look_soon: Callable[[], None]) -> None:
        self._store, self._follower, self._look_soon = store, follower, look_soon

    def act(self, task: str, verb: Verb, actor: str) -> Act:
        """Start, pause, resume or cancel a task.

        Raises:
            UnknownError: if there is no such task.
            ImpossibleError: if that cannot be done to it.
            EdgeloopError: if it could not be done.
        """

        def do() -> Act:
            self._store.task(task)
            return self._follower.source(task).act(task, verb)

        return self._noted(do, verb, task, actor)

    def create(self, asked: NewTask, actor: str) -> Act:
        """Make a task, in the stack or in a namespace of the cluster; errors as above.

        Raises:
            ConfigError: if a key or a value is wrong.
        """

        def do() -> Act:
            source = self._follower.place("cluster" if asked.namespace else "stack")
            return source.create(asked.task, asked.namespace, asked.begin)

        return self._noted(do, "create task", str(asked.task.get("name", "?")), actor)

    def evict(self, task: str, device: str, actor: str) -> Act:
        """Have a device take no more part in a task; errors as above."""

        def do() -> Act:
            self._store.device(task, device)
            done = self._follower.source(task).evict(task, device)
            if done.done:
                evicted(self._store, task, device)
            return done

        return self._noted(do, "evict", f"{device} of {task}", actor)

    def _noted(self, do: Callable[[], Act], act: str, subject: str, actor: str) -> Act:
        try:
            done = do()
        except EdgeloopError as error:
            self._store.note(actor, act, subject, "refused", str(error))
            raise
        self._store.note(actor, act, subject, "done", done.detail)
        self._look_soon()
        return done
