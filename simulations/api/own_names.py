"""Objects that a person gives in Python, as the names that a run's settings have for them."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from types import ModuleType
from typing import Any

from edgeloop import models
from edgeloop.errors import ConfigError
from edgeloop.runtime import plugins
from edgeloop.runtime.plugins import Group
from simulations.api.own_process import ONE_AT_A_TIME

_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")


@dataclass(eq=False)
class Brought:
    """Names for objects, and which of them another process could not import.

    Two objects never share a name within one call, nor with one that is still running around it.

    Attributes:
        local: the objects that live in this process only, by what they are.
    """

    local: dict[str, str] = field(default_factory=dict)
    _named: dict[tuple[Group, str], Any] = field(default_factory=dict)

    def name(self, group: Group, given: Any, give: Callable[[str, Any], None] | None = None) -> str:
        """Return the name of an object: its import path, or one of its own in this process.

        Args:
            group: what it is one of.
            given: a text is a name already.
            give: takes the object by its name; the group's own if not given.
        """
        if isinstance(given, str):
            return given
        if given is None:
            raise ConfigError(group.word, "is None", "name one, or give an object")
        path = import_path(given)
        if path is not None:
            return group.admit(path)
        text = getattr(given, "__name__", type(given).__name__)
        name = self._free(group, _NOT_A_LETTER.sub("-", text.lower()).strip("-"), given)
        (give or group.give)(name, given)
        self.local[group.word] = text
        return name

    def _free(self, group: Group, text: str, given: Any) -> str:
        """Return a name that no other object has: `own-net`, `own-net-2`, ..."""
        first = f"own-{text or group.word}"
        for name in chain([first], (f"{first}-{number}" for number in count(2))):
            holders = [each._named.get((group, name)) for each in _running]
            if all(each is None or each is given for each in holders):
                self._named[group, name] = given
                return name
        raise AssertionError  # pragma: no cover - there is always a next number

    @contextmanager
    def running(self) -> Iterator[None]:
        """Have the names for this call alone: one at a time, or one within another."""
        with ONE_AT_A_TIME:
            _running.append(self)
            try:
                yield
            finally:
                _running.remove(self)

    def check_workers(self, workers: int | str) -> None:
        """Refuse several processes for what only this one has.

        Raises:
            ConfigError: naming it.
        """
        if workers != 1 and self.local:
            word, text = next(iter(self.local.items()))
            problem = f"are {workers}, and the {word} {text} cannot be imported by other processes"
            raise ConfigError("workers", problem, "put it into a module of its own, or leave it 1")


_running: list[Brought] = []
"""The calls at work, the outermost first."""


def import_path(given: Any) -> str | None:
    """Return where an object can be imported from, `pkg.module:Name`; None where it cannot."""
    if isinstance(given, ModuleType):
        module, _, name = given.__name__.rpartition(".")
    else:
        module, name = getattr(given, "__module__", ""), getattr(given, "__qualname__", "")
    if not module or not name or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    path = f"{module}:{name}"
    return path if found is given and plugins.reference(path) is not None else None


def model_name(brought: Brought, model: Any) -> str | None:
    """Return the `models` of a run: a name, or a list of names and networks, shared out in turn."""
    if model is None:
        return None
    each = model if isinstance(model, list | tuple) else [model]
    if not each:
        raise ConfigError("model", "is an empty list", "give a network, or leave it out")
    found = [brought.name(plugins.MODELS, one, models.give) for one in each]
    models.forget(found)  # a module may have been loaded again since
    return ",".join(found)
