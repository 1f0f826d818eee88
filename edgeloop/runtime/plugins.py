"""What others bring: algorithms, models, data sources, generators, partitions and metrics.

Packages bring them as entry points. A person at this machine brings them by an import path,
`pkg.module:Name`, which `Group.admit` lets in, or as an object, which `Group.give` does. Nothing
else is imported by a name: what comes over the wire, or from a cluster, names entry points only.

A plug-in is looked at when somebody asks for it by name; one that is broken is an error then, and
only then. docs/extending.md shows how one is made.
"""

import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, wraps
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple, TypeVar

from edgeloop.errors import ConfigError, EdgeloopError

BUILT_IN = "edgeloop"
"""Where what is in this package is from."""

BY_HAND = "an import path"
"""Where what a person brings is from."""

Kind = TypeVar("Kind")

_WORD = r"[A-Za-z_]\w*"
_REFERENCE = re.compile(rf"({_WORD}(?:\.{_WORD})*:{_WORD}(?:\.{_WORD})*)(?::(.*))?", re.DOTALL)


class Reference(NamedTuple):
    """An import path, and what stands behind it.

    Attributes:
        path: `pkg.module:Name`.
        rest: what follows a further colon; None where nothing does.
    """

    path: str
    rest: str | None


def reference(text: str) -> Reference | None:
    """Return the import path that a text begins with; None where it is none."""
    found = _REFERENCE.fullmatch(text.strip())
    return None if found is None else Reference(found[1], found[2])


class Brought(NamedTuple):
    """What a person brings by hand.

    Attributes:
        name: it is asked for by.
        value: where it is, for a message.
        made: the object; None where it is to be imported.
    """

    name: str
    value: str
    made: Any = None

    def load(self) -> Any:
        """Return the object; import it, from the working folder too."""
        if self.made is not None:
            return self.made
        module, _, names = self.value.partition(":")
        found = _imported(module)
        for name in names.split("."):
            if not hasattr(found, name) and hasattr(found, "__path__"):
                return import_module(f"{module}.{names}")  # a module of the package
            found = getattr(found, name)
        return found


def _imported(module: str) -> Any:
    """Import a module; the working folder comes last, so that nothing installed is hidden."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] or os.getcwd() in sys.path:
            raise
    sys.path.append(os.getcwd())
    return import_module(module)


Point = EntryPoint | Brought
_BROUGHT: dict[str, dict[str, Brought]] = {}
"""What persons have brought to this process, by group and name."""


@dataclass(frozen=True)
class Group:
    """A kind of thing that other packages may bring.

    Attributes:
        entry_points: the name of their group.
        word: what one is called in a sentence.
    """

    entry_points: str
    word: str

    def names(self) -> list[str]:
        """Return the names of what others bring, in order."""
        return sorted({*self.packaged(), *self._brought()})

    def packaged(self) -> list[str]:
        """Return the names of what other packages bring, in order."""
        return sorted(_found(self.entry_points, tuple(sys.path)))

    def admit(self, text: str) -> str:
        """Let in what a person at this machine names by its import path; nothing is imported yet.

        Args:
            text: what was written; anything but an import path is left to others.

        Returns:
            the name to ask for it by.
        """
        found = reference(text)
        if found is None or self._points(found.path):
            return text if found is None else text.strip()
        self._brought()[found.path] = Brought(found.path, found.path)
        return text.strip()

    def give(self, name: str, made: Any) -> None:
        """Take an object that a person has made, in the place of an earlier one of its name."""
        self._brought()[name] = Brought(name, name, made)

    def brought(self, name: str) -> Any:
        """Return the object that a person gave by a name; None where there is none."""
        found = self._brought().get(name)
        return None if found is None else found.made

    def by_hand(self, name: str) -> Any:
        """Return what a person brought by a name, imported if need be; None where nobody did.

        Raises:
            ConfigError: if it cannot be imported.
        """
        found = self._brought().get(name)
        if found is None:
            return None
        with self.asked(found):
            return found.load()

    def _brought(self) -> dict[str, Brought]:
        return _BROUGHT.setdefault(self.entry_points, {})

    def origins(self, name: str, built_in: Collection[str]) -> str:
        """Return where what has a name is from: this package, others and their versions."""
        others = [origin(each) for each in self._points(name)]
        return ", ".join([BUILT_IN] * (name in built_in) + others)

    def find(self, name: str, built_in: Collection[str]) -> Point | None:
        """Return the plug-in of a name; None where no other package brings one.

        Args:
            name: what is asked for.
            built_in: the names of what is in this package.

        Raises:
            ConfigError: if two have this name, of which one may be built in.
        """
        points = self._points(name)
        if len(points) + (name in built_in) > 1:
            first = "it is built in" if name in built_in else origin(points[0])
            problem = f"{name} is brought twice: {first}, and {origin(points[-1])} has one"
            package = origin(points[-1]).partition(" ")[0]
            remedy = f"pip uninstall {package}, or rename its entry point"
            raise ConfigError(self.word, problem, remedy)
        return points[0] if points else None

    def load(self, point: Point, kind: type[Kind]) -> Kind:
        """Return what a plug-in is.

        Raises:
            ConfigError: if it cannot be imported, or is no such thing.
        """
        with self.asked(point):
            loaded = point.load()
            if not isinstance(loaded, kind):
                raise TypeError(f"{point.value} is no {kind.__name__}")
            return loaded

    @contextmanager
    def asked(self, point: Point) -> Iterator[None]:
        """Say it in one sentence where a plug-in fails: whose it is, and how.

        Raises:
            ConfigError: in the place of any error but our own, and a file that cannot be read.
        """
        try:
            yield
        except EdgeloopError:
            raise
        except (Exception, SystemExit) as error:  # whatever a stranger's module raises
            if getattr(error, "filename", None) is not None and isinstance(error, OSError):
                raise
            message = " ".join(str(error).split()) or "no message"
            by_hand = isinstance(point, Brought)
            whose = "" if by_hand else f", from {origin(point)},"
            problem = f"{point.name}{whose} cannot be used ({_kind(error)}: {message})"
            remedy = f"fix {point.value}" + ("" if by_hand else ", or uninstall it")
            raise ConfigError(self.word, problem, remedy) from error

    def guarded(self, point: Point, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of a plug-in's whose errors say whose it is, as `asked` does."""

        @wraps(function)
        def asking(*positional: Any, **named: Any) -> Any:
            with self.asked(point):
                return function(*positional, **named)

        return asking

    def _points(self, name: str) -> tuple[Point, ...]:
        by_hand = [each for each in (self._brought().get(name),) if each is not None]
        return (*by_hand, *_found(self.entry_points, tuple(sys.path)).get(name, ()))


ALGORITHMS = Group("edgeloop.algorithms", "algorithm")
MODELS = Group("edgeloop.models", "architecture")
SOURCES = Group("edgeloop.sources", "data source")
GENERATORS = Group("edgeloop.generators", "generator")
PARTITIONS = Group("edgeloop.partitions", "partition")
METRICS = Group("edgeloop.metrics", "metric")
OPTIMIZERS = Group("edgeloop.optimizers", "optimizer")
SCHEDULES = Group("edgeloop.schedules", "schedule")
AUGMENTATIONS = Group("edgeloop.augmentations", "augmentation")


def origin(point: Point) -> str:
    """Return the package that a plug-in is from, and its version."""
    if isinstance(point, Brought):
        return BY_HAND
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _kind(error: BaseException) -> str:
    return type(error).__name__


@lru_cache(maxsize=16)
def _found(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return a group's entry points by name, as packages on this path bring them."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found
