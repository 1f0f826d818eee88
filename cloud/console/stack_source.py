"""The tasks of an `edgeloop up` on this machine: its files say what is wanted, and how they are."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloud.console.reported import Aggregator
from cloud.console.sources import ImpossibleError, Kind, Sighting, looked, no_labels
from cloud.stack import added, control, reading
from cloud.stack.control import PartStatus, Wanted
from cloud.stack.services import Service
from edgeloop.errors import EXIT_UNAVAILABLE, TakenError, UnavailableError
from edgeloop.remote.models import Act, TaskState, Verb
from edgeloop.runtime.child_processes import edgeloop, environment
from edgeloop.runtime.config import BrokerSettings
from edgeloop.runtime.ports import reachable

EVICT_SECONDS = 90.0
"""For an eviction: the aggregator hears of it when a round has closed."""

_WANTED: dict[Verb, Wanted] = {
    "start": "Running",
    "resume": "Running",
    "pause": "Paused",
    "cancel": "Cancelled",
}


class Stack:
    """The tasks of a stack.

    Args:
        config: the stack's file.
        token_file: with a viewer's token on its first line; None where none is needed.

    Raises:
        ConfigError: if it cannot be read.
    """

    kind: Kind = "stack"

    def __init__(self, config: Path, token_file: Path | None = None) -> None:
        self._layout = layout = reading.read(config)
        self._token_file = token_file
        self._folder = layout.settings.folder
        self._services = {each.checked.name: each for each in layout.aggregators}
        self._agents = layout.agents
        self._aggregators = {
            name: _aggregator(each, token_file) for name, each in self._services.items()
        }

    def look(self) -> list[Sighting]:
        """Return the tasks, as they are now."""
        parts = control.parts_of(self._folder)
        known = {each.name: each for each in parts or ()}
        return looked(lambda name: self._seen(name, known.get(name)), list(self._services))

    def has_gone(self, task: str) -> bool:
        """Return that it has: the stack's file names it no more."""
        return True

    def act(self, task: str, verb: Verb) -> Act:
        """Want another state of a task; a stack that runs brings it about within a second."""
        held = control.wanted(self._folder, task)
        if held == "Cancelled":
            remedy = "begin a new task, or see docs/console.md"
            raise ImpossibleError(task, "was cancelled, which is for good", remedy)
        control.ask(self._folder, task, _WANTED[verb])
        running = control.parts_of(self._folder) is not None
        state: TaskState = _WANTED[verb]
        detail = f"{task} is wanted {state.lower()}"
        if not running:
            detail += "; edgeloop up does not run, and heeds it when it does"
        return Act(done=running, state=state, detail=detail)

    def evict(self, task: str, device: str) -> Act:
        """Have a device take no more part in a task, as `edgeloop aggregator --evict` does."""
        config = self._folder.absolute() / "config" / f"{task}.toml"
        if not config.exists():
            raise ImpossibleError(task, "has never been started", "start it with edgeloop up")
        command = edgeloop("aggregator", "--config", str(config), "--evict", device)
        code, words = _ended(command, task)
        if code not in (0, EXIT_UNAVAILABLE):
            raise ImpossibleError(device, words or "cannot be evicted", "see the server's log")
        state = self._seen(task, None).state
        return Act(done=code == 0, state=state, detail=words)

    def create(self, table: Mapping[str, Any], namespace: str, begin: bool) -> Act:
        """Add a task to the stack; one that runs takes it up within a second."""

        def before(name: str) -> None:
            if not begin and control.wanted(self._folder, name) == "Running":
                control.ask(self._folder, name, "Paused")

        try:
            found = added.add(self._layout, dict(table), before)
        except TakenError as error:
            raise ImpossibleError(error.field, error.problem, error.remedy) from error
        name = found.checked.name
        more = (*self._layout.aggregators, found)
        self._layout = replace(self._layout, aggregators=more)
        self._aggregators[name] = _aggregator(found, self._token_file)
        self._services = {**self._services, name: found}
        running = control.parts_of(self._folder) is not None
        detail = f"{name} is a task of the stack"
        if not running:
            detail += "; edgeloop up does not run, and takes it up when it does"
        return Act(done=running, state=control.wanted(self._folder, name), detail=detail)

    def broker(self, task: str) -> BrokerSettings | None:
        """Return what the task's aggregator has: its certificate may say what devices believe."""
        found: BrokerSettings = self._services[task].checked.broker
        return found

    def labelled(self, task: str, labels: dict[str, str]) -> frozenset[str]:
        """Refuse: a stack's devices have none."""
        raise no_labels(task)

    def _seen(self, name: str, part: PartStatus | None) -> Sighting:
        checked: Any = self._services[name].checked
        wanted = control.wanted(self._folder, name)
        status = self._aggregators[name].status() if wanted == "Running" else None
        state, waits = _judged(wanted, part)
        if status is not None:
            waits = status[1]
            state = "Finished" if status[0].phase == "finished" else "Running"
        if problem := control.problem(self._folder, name):
            waits = "; ".join(
                each for each in (f"{problem}: pause or resume it again", waits) if each
            )
        agents = [each.checked for each in self._agents if each.checked.task == name]
        return Sighting(
            name,
            state,
            checked.algorithm,
            checked.rounds,
            None if status is None else status[0],
            waits,
            checked.folder,
            tuple((each.name, each.folder) for each in agents),
            self._aggregators[name] if wanted == "Running" else None,
            tuple(checked.class_names),
            tuple(checked.shape),
        )


def _judged(wanted: Wanted, part: PartStatus | None) -> tuple[TaskState, str]:
    """Return what a task does of which its aggregator says nothing, and why it waits."""
    if wanted != "Running":
        return wanted, ""
    if part is None:
        return "Away", "edgeloop up does not run"
    if part.state == "done":
        return "Finished", ""
    return "Away", f"its aggregator does not answer; edgeloop up says: {part.state}"


def _aggregator(service: Service, token_file: Path | None) -> Aggregator:
    http = service.checked.http
    host = reachable(http.host)
    named = f"[{host}]" if ":" in host else host
    scheme = "http" if http.certificate_file is None else "https"
    return Aggregator(f"{scheme}://{named}:{http.port}", token_file, http.certificate_file)


def _ended(command: list[str], task: str) -> tuple[int, str]:
    """Run a command to its end; return its exit code, and its last line."""
    try:
        done = subprocess.run(  # noqa: S603 - a command of ours
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=EVICT_SECONDS,
            env=environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(task, "does not answer in time", "try again") from error
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, lines[-1].removeprefix("error: ") if lines else ""
