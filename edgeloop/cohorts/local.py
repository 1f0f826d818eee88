"""A cohort in this process."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from edgeloop.answers import Answer, Report
from edgeloop.client_half import ClientHalf
from edgeloop.errors import RunError

U = TypeVar("U")
B = TypeVar("B")
T = TypeVar("T")


class LocalCohort(Generic[B, U]):
    """Asks every member in turn, in the order of their names."""

    def __init__(self, members: Mapping[str, ClientHalf[U, B]]) -> None:
        self._members = dict(sorted(members.items()))

    def ask(
        self, round_number: int, broadcast: B, joining: Collection[str] | None = None
    ) -> Mapping[str, Answer[U]]:
        """Open a round and return its answers by client; who does not join only evaluates."""
        return {
            name: member.answer(round_number, broadcast, joining is None or name in joining)
            for name, member in self._members.items()
        }

    def finish(self, round_number: int, broadcast: B) -> Mapping[str, Report]:
        """Have every member evaluate the last broadcast."""
        return {name: member.finish(broadcast) for name, member in self._members.items()}

    def hits(self) -> Mapping[str, bytes]:
        """Return what every member's last evaluation has right; see `Member.hits`."""
        return {name: member.hits() for name, member in self._members.items()}

    def each(self, what: Callable[[str, Any], T]) -> Mapping[str, T]:
        """Return what a function of a client's name and its half tells of every member."""
        return {name: what(name, member) for name, member in self._members.items()}

    def save(self, folder: Path) -> None:
        """Write every member's model to a file of its own in an existing folder."""
        for name, member in self._members.items():
            save_file(dict(member.weights()), folder / f"{name}.safetensors")

    def restore(self, folder: Path) -> None:
        """Take over the models that `save` wrote.

        Raises:
            RunError: if one cannot be read, or is another architecture's.
        """
        for name, member in self._members.items():
            member.restore(_loaded(folder / f"{name}.safetensors"))

    def close(self) -> None:
        """Let go of the members; nothing to do here."""


def _loaded(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    try:
        return load_file(path)
    except (AttributeError, KeyError, OSError, SafetensorError) as error:
        remedy = "remove the run's folder: it then starts anew"
        raise RunError(str(path), f"cannot be read ({error})", remedy) from error
