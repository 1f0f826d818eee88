"""What other packages bring: algorithms, models, data sources and generators, as entry points.

A plug-in is looked at when somebody asks for it by name; one that is broken is an error then, and
only then. docs/extending.md shows how one is made.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from edgeloop.errors import ConfigError, EdgeloopError

BUILT_IN = "edgeloop"
"""Where what is in this package is from."""

Kind = TypeVar("Kind")


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
        """Return the names of what other packages bring, in order."""
        return sorted(_found(self.entry_points, tuple(sys.path)))

    def origins(self, name: str, built_in: Collection[str]) -> str:
        """Return where what has a name is from: this package, others and their versions."""
        others = [origin(each) for each in self._points(name)]
        return ", ".join([BUILT_IN] * (name in built_in) + others)

    def find(self, name: str, built_in: Collection[str]) -> EntryPoint | None:
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

    def load(self, point: EntryPoint, kind: type[Kind]) -> Kind:
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
    def asked(self, point: EntryPoint) -> Iterator[None]:
        """Say it in one sentence where a plug-in fails: whose it is, and how.

        Raises:
            ConfigError: in the place of any error but our own, and a file that cannot be read.
        """
        try:
            yield
        except EdgeloopError:
            raise
        except Exception as error:  # whatever a stranger's module raises
            if getattr(error, "filename", None) is not None and isinstance(error, OSError):
                raise
            message = " ".join(str(error).split()) or "no message"
            problem = (
                f"{point.name}, from {origin(point)}, cannot be used ({_kind(error)}: {message})"
            )
            raise ConfigError(self.word, problem, f"fix {point.value}, or uninstall it") from error

    def guarded(self, point: EntryPoint, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of a plug-in's whose errors say whose it is, as `asked` does."""

        @wraps(function)
        def asking(*positional: Any, **named: Any) -> Any:
            with self.asked(point):
                return function(*positional, **named)

        return asking

    def _points(self, name: str) -> tuple[EntryPoint, ...]:
        return _found(self.entry_points, tuple(sys.path)).get(name, ())


ALGORITHMS = Group("edgeloop.algorithms", "algorithm")
MODELS = Group("edgeloop.models", "architecture")
SOURCES = Group("edgeloop.sources", "data source")
GENERATORS = Group("edgeloop.generators", "generator")


def origin(point: EntryPoint) -> str:
    """Return the package that a plug-in is from, and its version."""
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _kind(error: Exception) -> str:
    return type(error).__name__


@lru_cache(maxsize=16)
def _found(group: str, path: tuple[str, ...]) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return a group's entry points by name, as packages on this path bring them."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found
