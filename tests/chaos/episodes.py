"""Runs a task undisturbed, then again and again with faults, and says what differs."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos import machine
from tests.chaos.comparing import Outcome, differences
from tests.chaos.deployment import AGGREGATOR, BROKER, DATABASE, TASK, Deployment, Setting, deployed
from tests.chaos.plan import LASTS, Plan
from tests.chaos.recorder import Recorder
from tests.chaos.striking import Striker
from tests.postgres import Postgres

STUCK_SECONDS = 600.0
"""Without a fault and without a round's end, after which nobody goes on any more."""

AT_ONCE = 6
"""Faults since the last round's end, after which the next round's end is waited for."""

TICK_SECONDS = 0.02

Say = Callable[[str], None]


class DisturbedError(AssertionError):
    """What chaos must not do: a task that stands still, or comes to something else."""


@dataclass
class Tally:
    """What was done.

    Attributes:
        faults: that struck, by kind and what they struck.
        drawn: how many were drawn; some meet nothing.
        episodes: runs of the task.
        restarts: of all parts.
        endings: exit codes of what ended by itself, by part and code.
        seconds: with faults.
    """

    faults: Counter[str] = field(default_factory=Counter)
    drawn: int = 0
    episodes: int = 0
    restarts: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def struck(self) -> int:
        return self.faults.total()


@dataclass
class Chaos:
    """Runs with faults, compared with one without.

    Args:
        folder: for everything.
        seed: of the faults.
        faults: how many are to strike.
        say: told what happens.
        settings: what is run, one after another and again.
        database: for the ledgers of every other episode; None for SQLite alone.
        kinds: of the faults; all that can be done here if not given.
    """

    folder: Path
    seed: int
    faults: int
    say: Say
    settings: Sequence[Setting] = (Setting(), Setting(persistent=False))
    database: Postgres | None = None
    kinds: Sequence[str] = field(
        default_factory=lambda: [each for each in LASTS if each not in machine.unable()]
    )
    tally: Tally = field(default_factory=Tally)

    def run(self) -> str:
        """Do all the faults; return the line that says what they came to.

        Raises:
            DisturbedError: if a task stands still or comes to something else.
            EndedError: if a part ends as none may.
        """
        expected: dict[Setting, Outcome] = {}
        while self.tally.struck < self.faults:
            setting = self.settings[self.tally.episodes % len(self.settings)]
            calm = replace(setting, persistent=True)
            if calm not in expected:
                self.say(f"undisturbed: {calm.algorithm}, {calm.rounds} rounds")
                expected[calm] = undisturbed(calm, self.folder / f"calm-{len(expected)}")
            found = self._episode(setting)
            if differs := differences(expected[calm], found):
                raise DisturbedError(f"episode {self.tally.episodes}: " + "; ".join(differs))
            self.tally.episodes += 1
        tally = self.tally
        return (
            f"identical: {tally.struck} faults, {tally.episodes} runs, {tally.restarts} restarts,"
            f" seed {self.seed}, {tally.seconds:.0f} s"
        )

    def _episode(self, setting: Setting) -> Outcome:
        number = self.tally.episodes
        database = self.database if number % 2 else None
        begun = time.monotonic()
        with deployed(setting, self.folder / f"episode-{number}", database) as deployment:
            stored = "stores" if setting.persistent else "forgets"
            where = "PostgreSQL" if database else "SQLite"
            self.say(f"episode {number}: {where}, a broker that {stored}")
            with closing(_Episode(self, deployment)) as episode:
                episode.run()
            found = deployment.outcome()
        self.tally.seconds += time.monotonic() - begun
        return found


class _Episode:
    """One run with faults.

    Args:
        chaos: whose.
        deployment: at work.
    """

    def __init__(self, chaos: Chaos, deployment: Deployment) -> None:
        self._chaos, self._deployment = chaos, deployment
        self._recorder = Recorder(TASK, deployment.port)
        self._striker = Striker(deployment, self._recorder)
        databases = [] if deployment.database is None else [DATABASE]
        targets = [AGGREGATOR, BROKER, *databases, *deployment.setting.names]
        self._plan = Plan(chaos.seed, chaos.kinds, targets)
        self._came_to, self._since, self._moved = -1, 0, time.monotonic()

    def run(self) -> None:
        """Disturb it until its work is done."""
        tally = self._chaos.tally
        due = time.monotonic()
        while not self._deployment.poll():
            self._striker.poll()
            self._watch()
            fault = self._plan.fault(tally.drawn)
            wanted = tally.struck < self._chaos.faults and self._since < AT_ONCE
            if wanted and time.monotonic() >= due + fault.pause:
                due = time.monotonic()
                tally.drawn += 1
                if self._striker.strike(fault):
                    tally.faults[f"{fault.kind} {_class(fault.target)}"] += 1
                    self._since += 1
                    self._moved = time.monotonic()
                    self._chaos.say(f"fault {fault}; round {self._came_to}")
            time.sleep(TICK_SECONDS)
        self._striker.heal()

    def _watch(self) -> None:
        """Note that it has come on; or that it does no more."""
        now = self._deployment.progress()
        if now != self._came_to:
            self._came_to, self._since, self._moved = now, 0, time.monotonic()
        elif time.monotonic() - self._moved > STUCK_SECONDS:
            parts = self._deployment.parts.values()
            told = "\n".join(f"== {part.name}:\n{part.tail()}" for part in parts)
            raise DisturbedError(f"stands still after {self._came_to} steps\n{told}")

    def close(self) -> None:
        """Leave it as it would be without faults; count what was seen."""
        self._striker.heal()
        self._recorder.stop()
        tally = self._chaos.tally
        for part in self._deployment.parts.values():
            tally.restarts += part.starts - 1
            for code, times in part.endings.items():
                tally.endings[f"{_class(part.name)} {code}"] += times


def _class(name: str) -> str:
    return name if name in (AGGREGATOR, BROKER, DATABASE) else "device"


def undisturbed(setting: Setting, folder: Path) -> Outcome:
    """Return what a task comes to without faults.

    Raises:
        DisturbedError: if it stands still.
    """
    with deployed(setting, folder) as deployment:
        deadline = time.monotonic() + STUCK_SECONDS
        while not deployment.poll():
            if time.monotonic() > deadline:
                raise DisturbedError("stands still without a fault")
            time.sleep(TICK_SECONDS)
        return deployment.outcome()
