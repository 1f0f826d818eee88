"""Begins roll-outs, takes them from group to group, stops them, and has devices go back.

What people ask for is written into the database, by whatever thread; `turn`, on a thread of its
own, brings it about: it tells devices, hears them, and decides by a group's thresholds.
"""

import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cloud.console.following import Follower
from cloud.console.rollouts import files, plan
from cloud.console.rollouts.afterwards import Afterwards
from cloud.console.rollouts.carrying import Line, Lines
from cloud.console.rollouts.files import Files
from cloud.console.rollouts.rows import OPEN, WITHDRAW, Told
from cloud.console.rollouts.store import RolloutStore
from cloud.console.sources import ImpossibleError
from cloud.console.store import Store
from edgeloop.errors import BrokerError, ConfigError, EdgeloopError
from edgeloop.protocol.rollout import Order
from edgeloop.remote.rollouts import NewRollout, Rollout, RolloutGroup, RolloutState, RolloutVerb
from edgeloop.runtime.config import BrokerSettings

log = logging.getLogger(__name__)


class Rollouts:
    """The roll-outs of a server.

    Args:
        store: the server's database.
        follower: knows where tasks are run.
        kept: the files.
        broker: of tasks of whose broker nothing else is known; None for none.

    Attributes:
        turn_soon: called when something has been asked for.
    """

    def __init__(
        self,
        store: Store,
        follower: Follower,
        kept: Files,
        broker: BrokerSettings | None = None,
    ) -> None:
        self.rollouts, self.files = RolloutStore(store), kept
        self._store, self._follower, self._broker = store, follower, broker
        self._lines = Lines(self._broker_of)
        self._afterwards = Afterwards(store, kept)
        self._sent_back: dict[str, int] = {}  # the serial of those that were told to go back
        self.turn_soon: Callable[[], None] = lambda: None

    # ---- what people ask for

    def create(self, asked: NewRollout, actor: str) -> Rollout:
        """Begin a roll-out, or make one that is begun later.

        Raises:
            UnknownError: if there is no such task.
            ConfigError: if a group has no device, or the file is not here or is none.
            ImpossibleError: if there is an open one of its kind, or no broker is known.
        """

        def do() -> Rollout:
            self._store.task(asked.task)
            self._broker_of(asked.task)
            self._check_name(asked.task)
            sha256 = asked.sha256 or ""
            if asked.kind == "settings":
                sha256 = self.files.keep(files.of_settings(asked.settings)).sha256
            content = self.files.content(sha256)
            files.check(asked.kind, content)
            now = datetime.now(UTC)
            identity = f"r{int(now.timestamp() * 1000):x}-{secrets.token_hex(2)}"
            known = self.rollouts.known(asked.task)
            chosen = plan.grouped(asked.groups, known, identity, self._labelled(asked.task))
            state: RolloutState = "running" if asked.begin else "ready"
            found = Rollout(
                rollout=identity,
                name=asked.name,
                task=asked.task,
                kind=asked.kind,
                sha256=sha256,
                size=len(content),
                state=state,
                roll_back_on_error=asked.roll_back_on_error,
                actor=actor[:200],
                begun=now,
                changed=now,
            )
            self.rollouts.create(found, asked, chosen)
            return self.rollouts.rollout(identity)

        return self._noted(do, "create", f"{asked.kind} {asked.name} for {asked.task}", actor)

    def act(self, rollout: str, verb: RolloutVerb, actor: str) -> Rollout:
        """Pause, resume, stop a roll-out, or have its devices go back.

        Raises:
            UnknownError: if there is none.
            ImpossibleError: if that cannot be done to it as it is.
        """

        def do() -> Rollout:
            found = self.rollouts.rollout(rollout)
            getattr(self, f"_{verb}")(found, actor)
            return self.rollouts.rollout(rollout)

        return self._noted(do, verb, rollout, actor)

    def _pause(self, found: Rollout, actor: str) -> None:
        self._become(found, ("running",), "paused", f"by {actor}")

    def _resume(self, found: Rollout, actor: str) -> None:
        self._become(found, ("ready", "paused"), "running", "")

    def _stop(self, found: Rollout, actor: str) -> None:
        self._become(found, (*OPEN, "succeeded"), "stopped", f"by {actor}")

    def _rollback(self, found: Rollout, actor: str) -> None:
        if (newer := self.rollouts.newer(found)) is not None:
            problem = f"was followed by {newer} of the same kind"
            raise ImpossibleError(found.rollout, problem, "roll that one back first")
        before: tuple[RolloutState, ...] = (*OPEN, "succeeded", "stopped")
        self._become(found, before, "rolled back", f"by {actor}")

    def _become(
        self, found: Rollout, before: tuple[RolloutState, ...], state: RolloutState, reason: str
    ) -> None:
        if not self.rollouts.become(found.rollout, before, state, reason):
            now = self.rollouts.rollout(found.rollout).state
            remedy = f"only one that is {' or '.join(before)} can be"
            raise ImpossibleError(found.rollout, f"is {now}", remedy)

    def _noted(self, do: Callable[[], Rollout], act: str, subject: str, actor: str) -> Rollout:
        try:
            found = do()
        except EdgeloopError as error:
            self._store.note(actor, f"rollout {act}", subject, "refused", str(error))
            raise
        self._store.note(
            actor, f"rollout {act}", subject, "done", f"{found.rollout}: {found.state}"
        )
        self.turn_soon()
        return found

    def _broker_of(self, task: str) -> BrokerSettings:
        """Return where a task's devices are reached.

        Raises:
            UnavailableError: if the task has not been seen since the server's start.
            ImpossibleError: if nobody has said.
        """
        found = self._follower.source(task).broker(task) or self._broker
        if found is None:
            problem = "has no broker that this server knows"
            raise ImpossibleError(task, problem, "give the server's file a [broker] table")
        return found

    def _check_name(self, task: str) -> None:
        """Refuse a task that its devices know by another name."""
        seen = self._follower.sighting(task)
        reported = None if seen is None else seen.reported
        if reported is not None and reported.task != task:
            remedy = f"call it {reported.task} in the server's file, in `aggregators`"
            raise ImpossibleError(task, f"is {reported.task} to its devices", remedy)

    def _labelled(self, task: str) -> plan.Labelled:
        return lambda labels: self._follower.source(task).labelled(task, labels)

    # ---- what is done about it

    def close(self) -> None:
        """Part from the brokers."""
        self._lines.close()

    def turn(self) -> None:
        """Hear devices, decide, and tell devices, once."""
        carried = self.rollouts.carried()
        tasks = {each.task for each in carried} | self._afterwards.tasks()
        self._lines.keep(tasks)
        self._afterwards.sweep()
        told = {each.task for each in carried}
        reached = self._lines.reach({task: task not in told for task in sorted(tasks)})
        for task, line in reached.items():
            of_task = [each for each in carried if each.task == task]
            try:
                self._hear(line, task)
            except BrokerError as error:
                log.warning("devices of %s are not heard now: %s", task, error)
                continue
            is_fresh, line.is_fresh = line.is_fresh, False
            for each in of_task:
                if is_fresh:
                    self._tried(self._tell_again, line, each)
                self._tried(self._advance, line, each)

    def _tried(self, do: Callable[[Line, Rollout], None], line: Line, found: Rollout) -> None:
        """Do something for one; what is wrong with it is in nobody else's way."""
        try:
            do(line, found)
        except (ConfigError, BrokerError) as error:  # a file that is gone, a packet too large
            line.is_fresh |= isinstance(error, BrokerError)  # it may lack what was to be told
            log.warning("roll-out %s does not go on: %s", found.rollout, error)

    def _tell_again(self, line: Line, found: Rollout) -> None:
        """Tell a broker that may lack it all that devices were told, and have still to hear."""
        if found.state == "ready" or self._is_over(found):
            return
        told = self.rollouts.told(found)
        if any(each.action == "apply" for each in told):  # who goes back needs no file
            line.ship(found.sha256, self.files.content(found.sha256))
        self._tell(line, found, told)

    def _is_over(self, found: Rollout) -> bool:
        return found.state not in OPEN and self.rollouts.is_settled(found.rollout)

    def _hear(self, line: Line, task: str) -> None:
        for said in line.heard():
            for news in self.rollouts.hear(task, said):
                if news.is_late:
                    self._afterwards.tell(news.device, news.told)

    def _tell(self, line: Line, found: Rollout, told: list[Told]) -> None:
        for each in told:
            if each.action == WITHDRAW:
                line.take_back(each.device, found.kind)
            else:
                line.tell(each.device, _order(found, each))

    def _advance(self, line: Line, found: Rollout) -> None:
        """Take a roll-out as far as it goes now."""
        while self._decided(line, found := self.rollouts.rollout(found.rollout)):
            pass
        back = self.rollouts.told(found, WITHDRAW)
        if back:
            self._tell(line, found, back)
            if line.flush():
                self.rollouts.withdrawn(found.rollout, [each.device for each in back])
        if found.state == "rolled back":
            self._send_back(line, found)
        if not back and self._is_over(found):
            self._clear(line, found)

    def _decided(self, line: Line, found: Rollout) -> bool:
        """Decide on the group that runs, or begin the next; tell whether there is more to do."""
        if found.state != "running":
            return False
        begun = [each for each in found.groups if each.state in ("running", "succeeded")]
        if any(self._judged(found, each) for each in begun):
            return True
        if any(each.state == "running" for each in begun):
            return False
        following = next((each for each in found.groups if each.state == "scheduled"), None)
        if following is None:
            if self.rollouts.become(found.rollout, ("running",), "succeeded", noted=True):
                log.info("roll-out %s has succeeded", found.rollout)
            return True
        line.ship(found.sha256, self.files.content(found.sha256))
        if not self.rollouts.begin_group(found, following.number):
            return True
        told = self.rollouts.told(found)
        newest = max((each.serial for each in told), default=0)
        self._tell(line, found, [each for each in told if each.serial == newest])
        log.info("roll-out %s: group %d has begun", found.rollout, following.number)
        return True

    def _judged(self, found: Rollout, group: RolloutGroup) -> bool:
        verdict, why = plan.verdict(group)
        if verdict == "going" or verdict == group.state:
            return False
        if verdict == "succeeded":
            self.rollouts.group_succeeds(found.rollout, group.number)
            return True
        reason = f"group {group.number}: {why}"
        state: RolloutState = "rolled back" if found.roll_back_on_error else "stopped"
        if self.rollouts.become(
            found.rollout, ("running",), state, reason, failed=group.number, noted=True
        ):
            log.info("roll-out %s has %s: %s", found.rollout, state, reason)
        return True

    def _send_back(self, line: Line, found: Rollout) -> None:
        """Tell devices to go back, whom the broker has not been given that for yet."""
        serial = self.rollouts.newest_serial(found.rollout)
        if self._sent_back.get(found.rollout) != serial:
            self._tell(line, found, self.rollouts.told(found, "roll back"))
            self._sent_back[found.rollout] = serial

    def _clear(self, line: Line, found: Rollout) -> None:
        """Have the broker forget a roll-out that nobody has to hear of any more."""
        for each in self.rollouts.told(found):
            line.take_back(each.device, found.kind)
        others = [each for each in self.rollouts.carried() if each.rollout != found.rollout]
        if not any((each.task, each.sha256) == (found.task, found.sha256) for each in others):
            line.drop(found.sha256, found.size)
        if line.flush():
            self.rollouts.drop(found.rollout)


def _order(found: Rollout, told: Told) -> Order:
    facts: dict[str, Any] = {"action": told.action, "serial": told.serial}
    return Order(
        rollout=found.rollout, kind=found.kind, sha256=found.sha256, size=found.size, **facts
    )
